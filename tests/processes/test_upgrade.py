"""A new master takes over without a lost request or a closed connection; when it cannot, the old one goes on."""

import os
import signal
import socket
import stat
import sys
from pathlib import Path

import pytest

from prefork.errors import CommandError
from tests.certificates import Folder
from tests.handshake import client_context
from tests.processes.client import fetch
from tests.processes.gate import Gate
from tests.processes.load import Load
from tests.processes.proc import Death, wait_same
from tests.processes.secure import SecureClient
from tests.processes.tree import CALM, Tree

pytestmark = pytest.mark.processes

LAUNCHER = Path(__file__).parent / "systemd_launcher.py"

VERSION = """
import os
from prefork import App
{more}
app = App()


@app.get("/who")
async def who(request):
    return "{text}"
"""

# Waits at the gate while it is imported, if there is a file of that name.
WAITING = """
import socket

if os.path.exists("wait"):
    with socket.socket(socket.AF_UNIX) as end:
        end.connect("gate")
        end.recv(1)
"""


def version(text: str, more: str = "") -> str:
    return VERSION.format(text=text, more=more)


def status(tree: Tree) -> tuple[int, int, str] | None:
    """Who answers commands; None while the control socket is between two masters."""
    try:
        found = tree.command("status")
    except (CommandError, ValueError):
        return None
    return found["pid"], found["generation"], found["state"]


def begin(tree: Tree) -> int:
    """Start an upgrade. Returns the pid of the new master."""
    since = tree.log.mark()
    tree.send_signal(signal.SIGUSR2)
    return int(tree.log.wait(r"new master \(pid (\d+)\) starts", since)[1])


def upgrade(tree: Tree) -> None:
    """Have a new master serve, and the old one end; the tree's master is the new one then."""
    old = Death(tree.master)
    new = begin(tree)
    tree.log.wait(rf"new master \(pid {new}\) is ready and serves")
    old.wait()
    tree.log.wait(f"master {tree.master} has ended")
    tree.master = new


@pytest.mark.parametrize("balance", ["round-robin", "kernel"])
def test_upgrades_under_load_fail_no_request_and_close_no_connection(tree: Tree, balance: str) -> None:
    tree.start("faults:app", "--balance", balance, *CALM)
    with Load(tree.address, keep_alive=2, closing=2) as load:
        for _ in range(2):
            upgrade(tree)
            load.answered_by.clear()
            load.wait_answers(10)
    assert load.losses == []
    assert [load.connections[client] for client in load.keep_alive] == [1, 1]
    assert load.answered_by.keys() <= {str(process.pid) for process in tree.processes("worker")}
    assert len(tree.processes("worker")) == 2


def test_idle_connections_are_served_by_the_new_code_and_what_was_begun_by_the_old(tree: Tree, gate: Gate) -> None:
    tree.write("shop.py", version("old") + WAIT_AT_GATE)
    tree.start("shop:app", *CALM)
    clients = [tree.client() for _ in range(20)]
    for client in clients[::2]:  # the others have not asked for anything yet
        assert client.get("/who").text == "old"
    begun = tree.asking("/gate")
    visitor = gate.wait_entered()
    tree.write("shop.py", version("new"))
    new = begin(tree)
    tree.log.wait(rf"new master \(pid {new}\) is ready and serves")
    assert tree.get("/who").text == "new"
    visitor.release()
    assert begun.receive().text == "old"
    assert tree.wait_first_exit() == 0
    tree.master = new
    assert {client.get("/who").text for client in clients} == {"new"}


WAIT_AT_GATE = """

@app.get("/gate")
async def gate(request):
    import asyncio
    reader, writer = await asyncio.open_unix_connection("gate")
    await reader.read(1)
    writer.close()
    return "old"
"""


def test_what_there_is_only_one_of_goes_over_and_is_removed_by_the_last_master(tree: Tree) -> None:
    tree.start("faults:app", "--bind", "unix:http.sock", "--pid-file", "pid", *CALM, workers=1)
    pid_file, old = tree.folder / "pid", Death(tree.master)
    assert "serves" in tree.command("upgrade")["done"]
    old.wait()
    tree.master = int(pid_file.read_text())
    wait_same(lambda: status(tree), (tree.master, 2, "ready"), tree.report)
    assert any("generation 1" in event["text"] for event in tree.command("events")), "also what happened before"
    address = f"unix:{tree.folder}/http.sock"
    assert fetch(address, "/who").text in {str(process.pid) for process in tree.processes("worker")}
    tree.stop()
    assert not (tree.folder / "http.sock").exists()
    assert not pid_file.exists()


def test_sockets_from_systemd_go_over(tree: Tree) -> None:
    with socket.create_server(("127.0.0.1", 0)) as first:
        command = [sys.executable, str(LAUNCHER), str(first.fileno())]
        tree.start("faults:app", *CALM, workers=1, command=command, pass_fds=[first.fileno()])
    upgrade(tree)
    assert tree.get("/who").text in {str(process.pid) for process in tree.processes("worker")}


def test_over_tls_what_was_begun_is_finished_by_the_old_master_and_the_rest_is_served_by_the_new(
    tree: Tree, gate: Gate
) -> None:
    certificates = Folder(tree.folder)
    cert, key = certificates.make("a", "localhost")
    context = client_context(certificates.authority)
    tree.start("faults:app", "--tls-cert", cert, "--tls-key", key, *CALM, workers=1)
    old = Death(tree.master)
    with (
        SecureClient(tree.address, context) as idle,
        SecureClient(tree.address, context) as busy,
        SecureClient(tree.address, context, wait=True) as silent,
    ):
        first = idle.get("/who").text
        busy.send("/gate")
        visitor = gate.wait_entered()
        new = begin(tree)
        tree.log.wait(rf"new master \(pid {new}\) is ready and serves")
        with SecureClient(tree.address, context) as fresh:
            assert fresh.get("/who").text != first
        silent.shake_hands()
        assert silent.get("/who").text == first
        assert idle.get("/who").text == first
        visitor.release()
        assert busy.receive().text == first
        old.wait()
    tree.master = new


def test_addresses_follow_the_configuration(tree: Tree) -> None:
    kept, gone, added = (f"unix:{tree.folder}/{name}.sock" for name in ("kept", "gone", "added"))
    tree.write("server.toml", f'bind = ["{kept}", "{gone}"]\nadmin = "unix:gone-admin.sock"\numask = "077"')
    tree.start("faults:app", "--config", "server.toml", *CALM, workers=1)
    with Load(kept, closing=2) as load:
        tree.write("server.toml", f'bind = ["{added}", "{kept}"]\nadmin = "unix:admin.sock"')
        upgrade(tree)
        load.wait_answers(5)
    assert load.losses == []
    assert fetch(added, "/who").status == 200
    umask = os.umask(0)  # ours, and so that of the start
    os.umask(umask)
    assert stat.S_IMODE((tree.folder / "added.sock").stat().st_mode) == 0o777 & ~umask
    assert not (tree.folder / "gone.sock").exists()
    assert not (tree.folder / "gone-admin.sock").exists()
    assert fetch(f"unix:{tree.folder}/admin.sock", "/readyz").status == 200


def test_an_upgrade_that_fails_leaves_the_old_master_serving_and_says_why(tree: Tree) -> None:
    socket_file = tree.folder / "http.sock"
    tree.write("shop.py", version("old"))
    tree.write("server.toml", f'bind = ["unix:{socket_file}"]')
    tree.start("shop:app", "--config", "server.toml", *CALM, workers=1)
    client = tree.client()
    tree.write("shop.py", "import no_such_module")
    why = r"upgrade failed: .* \(exit status 3\): ModuleNotFoundError: No module named 'no_such_module'"
    with pytest.raises(CommandError, match=why):
        tree.command("upgrade")
    tree.log.wait(why)
    assert client.get("/who").text == "old"
    tree.write("shop.py", version("new"))
    tree.write("server.toml", "workres = 2")
    begin(tree)
    tree.log.wait(r"upgrade failed: .* \(exit status 2\): server.toml: unknown key workres; did you mean workers\?")
    tree.write("server.toml", f'bind = ["unix:{socket_file}", "unix:/no/such/folder/http.sock"]')
    begin(tree)
    tree.log.wait(r"upgrade failed: .* \(exit status 4\): cannot bind unix:/no/such/folder/http.sock")
    assert client.get("/who").text == "old"
    assert fetch(tree.address, "/who").text == "old"
    tree.write("server.toml", f'bind = ["unix:{socket_file}"]')
    upgrade(tree)
    assert client.get("/who").text == "new"


def test_a_new_master_that_is_killed_changes_nothing(tree: Tree, gate: Gate) -> None:
    tree.write("shop.py", version("old", WAITING))
    tree.start("shop:app", *CALM, workers=1)
    client = tree.client()
    tree.write("wait", "")
    new = begin(tree)
    visitor = gate.wait_entered()  # the new mold imports
    since = tree.log.mark()
    tree.send_signal(signal.SIGUSR2)
    tree.log.wait(rf"cannot upgrade: .*new master \(pid {new}\) boots", since)
    tree.send_signal(signal.SIGHUP)  # the old one does as it is told
    another = gate.wait_entered()
    os.kill(new, signal.SIGKILL)
    tree.log.wait(r"upgrade failed: .* \(signal SIGKILL\)", since)
    visitor.wait_gone()
    another.release()
    tree.log.wait("has drained", since)
    assert client.get("/who").text == "old"
    (tree.folder / "wait").unlink()
    upgrade(tree)
    assert client.get("/who").text == "old"


def test_a_stop_during_an_upgrade_ends_both_masters(tree: Tree, gate: Gate) -> None:
    tree.write("shop.py", version("old", WAITING))
    tree.start("shop:app", "--drain-delay", "3600", *CALM, workers=1)
    tree.write("wait", "")
    new = Death(begin(tree))
    gate.wait_entered()
    tree.send_signal(signal.SIGTERM)
    new.wait()  # else it could take over before the delay has passed, and the stop would be forgotten
    assert tree.stop() == 0
    tree.log.wait("is ended: the server stops")


def test_when_the_old_master_is_killed_the_new_one_serves(tree: Tree, gate: Gate) -> None:
    tree.write("shop.py", version("old", WAITING))
    tree.start("shop:app", *CALM, workers=1)
    tree.write("wait", "")
    new = begin(tree)
    visitor = gate.wait_entered()
    tree.send_signal(signal.SIGKILL)
    tree.log.wait("gone before its time")
    visitor.release()
    assert tree.get("/who").text == "old"
    tree.master = new
