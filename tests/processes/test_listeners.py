"""The server listens where it is told: TCP, Unix sockets, sockets it inherits; what is not its own it leaves alone."""

import signal
import socket
import sys
from pathlib import Path

import pytest

from tests.processes.client import fetch
from tests.processes.tree import Tree

pytestmark = pytest.mark.processes

LAUNCHER = Path(__file__).parent / "systemd_launcher.py"


def test_every_bind_is_served(tree: Tree) -> None:
    tree.start("faults:app", "--bind", "127.0.0.1:0", "--bind", "[::1]:0", "--bind", "unix:http.sock")
    assert [address.rpartition(":")[0] for address in tree.addresses] == ["http://127.0.0.1", "http://[::1]", "unix"]
    addresses = [*tree.addresses[:2], f"unix:{tree.folder}/http.sock"]
    assert [fetch(address, "/who").status for address in addresses] == [200, 200, 200]


def test_a_unix_socket_is_removed_at_the_end(tree: Tree) -> None:
    tree.start("faults:app", "--bind", f"unix:{tree.folder}/http.sock")
    assert tree.get("/who").status == 200
    assert tree.stop() == 0
    assert not (tree.folder / "http.sock").exists()


def test_a_stale_unix_socket_is_replaced(tree: Tree) -> None:
    path = tree.folder / "http.sock"
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(path))
    tree.start("faults:app", "--bind", f"unix:{path}")
    assert tree.get("/who").status == 200


def test_a_live_unix_socket_is_refused_and_goes_on(tree: Tree, tree_beside: Tree) -> None:
    bind = f"unix:{tree.folder}/http.sock"
    tree.start("faults:app", "--bind", bind)
    tree_beside.launch("faults:app", "--bind", bind)
    assert tree_beside.wait_exit() == 4
    assert [record["message"] for record in tree_beside.log.records] == [
        f"prefork: error: cannot bind {bind}: another server listens there"
    ]
    assert tree.get("/who").status == 200


def test_a_file_that_is_no_socket_is_left_alone(tree: Tree) -> None:
    tree.write("http.sock", "precious")
    tree.launch("faults:app", "--bind", f"unix:{tree.folder}/http.sock")
    assert tree.wait_exit() == 4
    assert (tree.folder / "http.sock").read_text() == "precious"


def test_an_inherited_socket_is_served(tree: Tree) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        tree.start("faults:app", "--bind", f"fd://{listener.fileno()}", pass_fds=[listener.fileno()])
        assert tree.address == f"http://127.0.0.1:{listener.getsockname()[1]}"
    assert tree.get("/who").status == 200


def test_an_inherited_descriptor_that_is_no_socket_is_exit_code_4(tree: Tree) -> None:
    with (tree.folder / "file").open("w") as file:
        tree.launch("faults:app", "--bind", f"fd://{file.fileno()}", pass_fds=[file.fileno()])
        assert tree.wait_exit() == 4
    assert len(tree.log.records) == 1


def test_sockets_passed_by_systemd_are_served_instead_of_bind(tree: Tree) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as first,
        socket.create_server(("127.0.0.1", 0)) as second,
    ):
        passed = [first.fileno(), second.fileno()]
        command = [sys.executable, str(LAUNCHER), ",".join(map(str, passed))]
        tree.start(command=command, pass_fds=passed)
        ports = [listener.getsockname()[1] for listener in (first, second)]
    assert tree.addresses == [f"http://127.0.0.1:{port}" for port in ports]
    assert [fetch(address, "/who").status for address in tree.addresses] == [200, 200]


@pytest.mark.parametrize("balance", ["round-robin", "least-connections", "kernel"])
def test_answers_are_not_held_back_until_the_client_acknowledges(tree: Tree, balance: str) -> None:
    tree.start("faults:app", "--balance", balance)
    client = tree.client()
    assert client.get("/nodelay").text == "1"
    tree.send_signal(signal.SIGHUP)
    tree.log.wait("has drained", count=2)
    assert client.get("/nodelay").text == "1"  # now from another worker, to which it was handed
