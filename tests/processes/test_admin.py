"""The admin server tells the truth through boot, blocked workers, death, drain and stop, and is always there."""

import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from prefork.processes.admin import CONNECTIONS
from tests.processes.client import Client, Reply
from tests.processes.gate import Gate
from tests.processes.proc import Death, descriptors, wait_same
from tests.processes.tree import CALM, Tree

pytestmark = pytest.mark.processes

TOKEN = "0123456789abcdef"
ADMIN = ("--admin", "0", "--admin-token", TOKEN)
STEER = f"authorization: Bearer {TOKEN}\r\n"
CLIENTS = 50
BATCH = 64  # connections at a time; what is accepted by then leaves the backlog
WHO = 'prefork_request_seconds_count{method="GET",route="/who",status="2xx"} '

# Each worker starts once the gate lets it.
GATED = """
import socket

from prefork import App

app = App()


@app.on_startup
def start():
    with socket.socket(socket.AF_UNIX) as end:
        end.connect("gate")
        end.recv(1)
"""


class Admin:
    """The admin of a tree, as whoever probes it sees it."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self.address = tree.log.wait(r"^admin server on (\S+)$")[1]

    @property
    def pid(self) -> int:
        [admin] = self._tree.processes("admin")
        return admin.pid

    def asking(self, path: str, fields: str = "", method: str = "GET", body: bytes = b"") -> Client:
        """A connection on which it was asked."""
        client = Client(self.address)
        length = f"content-length: {len(body)}\r\n" if body else ""
        head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{length}{fields}\r\n"
        client.send_raw(head.encode() + body)
        return client

    def ask(self, path: str, fields: str = "", method: str = "GET", body: bytes = b"") -> Reply:
        with self.asking(path, fields, method, body) as client:
            return client.receive()

    def json(self, path: str) -> Any:
        return json.loads(self.ask(path).text)

    def command(self, name: str, fields: str = STEER, **arguments: object) -> tuple[int, Any]:
        reply = self.ask(f"/command/{name}", fields, "POST", json.dumps(arguments).encode())
        return reply.status, json.loads(reply.text)

    def probes(self) -> tuple[int, str]:
        """The status of /livez, and what /readyz says."""
        return self.ask("/livez").status, self.ask("/readyz").text.rstrip()

    def wait(self, live: int, ready: str) -> None:
        """Wait until the probes say so."""
        wait_same(self.probes, (live, ready), self._tree.report)


def receive(clients: list[Client]) -> list[Reply]:
    """What each was answered."""
    replies = [client.receive() for client in clients]
    for client in clients:
        client.close()
    return replies


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Tree, Admin]]:
    """A tree for the tests that leave it as they found it: it serves, and steers with the token."""
    tree = Tree(tmp_path_factory.mktemp("calm"))
    tree.start("faults:app", *ADMIN, *CALM)
    yield tree, Admin(tree)
    tree.close()


def test_probes_tell_of_boot_and_of_the_death_of_all_workers_and_end_with_the_master(tree: Tree, gate: Gate) -> None:
    tree.write("shop.py", GATED)
    tree.launch("shop:app", *ADMIN, *CALM)
    admin = Admin(tree)
    visitors = [gate.wait_entered(), gate.wait_entered()]
    assert admin.probes() == (200, "not ready: booting")
    for visitor in visitors:
        visitor.release()
    tree.log.wait("^serving on")
    admin.wait(200, "ready: 2 of 2 workers")
    for slot in (0, 1):
        os.kill(tree.worker(slot), signal.SIGKILL)
    visitors = [gate.wait_entered(), gate.wait_entered()]
    admin.wait(200, "not ready: none of 2 workers")
    visitors[0].release()
    admin.wait(200, "ready: 1 of 2 workers")
    death = Death(admin.pid)
    tree.send_signal(signal.SIGKILL)
    death.wait()


def test_blocked_workers_fail_no_probe_and_are_told_of(tree: Tree, gate: Gate) -> None:
    tree.start("faults:app", *ADMIN, "--stall-seconds", "0.1", "--hang-seconds", "0")
    admin = Admin(tree)
    for _ in range(2):
        tree.asking("/block?card=42")
        gate.wait_entered()
    admin.wait(200, "ready: 2 of 2 workers, 2 of them blocked")
    live = admin.json("/live")
    assert [worker["state"] for worker in live["status"]["workers"]] == ["stalled", "stalled"]
    assert [request["request"] for request in live["requests"]] == ["GET /block", "GET /block"]
    assert "# EOF" in admin.ask("/metrics", "accept: application/openmetrics-text\r\n").text


def test_while_it_drains_and_stops_it_lives_and_is_not_ready_to_the_last_on_a_unix_socket_too(
    tree: Tree, gate: Gate
) -> None:
    path = tree.folder / "admin.sock"
    tree.start("faults:app", "--admin", f"unix:{path}", "--admin-token", TOKEN, *CALM)
    admin = Admin(tree)
    assert admin.address == admin.json("/status")["admin"] == f"unix:{path}"
    asked = tree.asking("/gate")
    visitor = gate.wait_entered()
    assert admin.command("drain")[0] == 200
    admin.wait(200, "not ready: draining")
    assert tree.get("/who").status == 200
    tree.send_signal(signal.SIGTERM)
    admin.wait(200, "not ready: stopping")
    ended = Death(admin.pid)
    visitor.release()
    assert asked.receive().status == 200
    assert tree.wait_exit() == 0
    ended.wait()
    assert not tree.log.find("admin .* died")
    assert not path.exists()


def test_a_killed_admin_is_replaced_and_what_waits_for_it_is_answered(calm: tuple[Tree, Admin]) -> None:
    tree, admin = calm
    wait_same(lambda: len(admin.json("/live")["samples"]) > 0, True, tree.report)
    before = admin.json("/live")
    killed = admin.pid
    os.kill(killed, signal.SIGSTOP)
    waiting = [admin.asking(path) for path in ("/livez", "/readyz", "/live") for _ in range(10)]
    os.kill(killed, signal.SIGKILL)
    replies = receive(waiting)
    assert {reply.status for reply in replies} == {200}
    after = json.loads(replies[-1].text)
    assert after["samples"][: len(before["samples"])] == before["samples"]
    assert after["events"][: len(before["events"])] == before["events"]
    tree.log.wait(rf"admin \(pid {killed}\) died: signal SIGKILL; the next one starts")
    assert admin.pid != killed
    assert tree.get("/who").status == 200


def test_many_scrapes_are_answered_and_count_exactly(calm: tuple[Tree, Admin]) -> None:
    tree, admin = calm

    def counted() -> set[float]:
        """What each of many is told at once."""
        replies = receive([admin.asking("/metrics") for _ in range(CLIENTS)])
        assert {reply.status for reply in replies} == {200}
        found = (re.search(f"^{re.escape(WHO)}(.*)$", reply.text, re.MULTILINE) for reply in replies)
        return {float(match[1]) if match else 0.0 for match in found}

    before = max(counted())
    for _ in range(20):
        assert tree.get("/who").status == 200
    wait_same(counted, {before + 20.0}, tree.report)


def test_clients_that_ask_nothing_keep_no_probe_out(calm: tuple[Tree, Admin]) -> None:
    _, admin = calm
    clients: list[Client] = []
    while len(clients) < CONNECTIONS + BATCH:
        clients += [Client(admin.address) for _ in range(BATCH)]
        clients[-1].send_raw(b"GET /livez HT")
        assert admin.probes() == (200, "ready: 2 of 2 workers")
    for client in clients:
        client.close()


def test_commands_steer_the_server_for_who_has_the_token(calm: tuple[Tree, Admin]) -> None:
    tree, admin = calm
    since = tree.log.mark()
    assert admin.command("reload", fields="")[0] == 401
    assert admin.command("kill", slot=7) == (409, {"error": "there is no worker in slot 7; there are 0, 1"})
    assert admin.command("status", fields="")[1]["result"]["wanted"] == 2
    assert TOKEN not in str(admin.command("settings"))
    assert not tree.log.find("reload|killed", since)
    assert admin.command("reload")[0] == 200
    tree.log.wait("has drained", since, count=2)
    events = admin.json("/live")["events"]
    assert [event["text"] for event in events].count("reload: generation 2 is imported") == 1
    kinds = {event["fields"]["event"] for event in events if "event" in event["fields"]}
    assert {"ready", "reload", "drains", "drained"} <= kinds
    drained = [event["fields"]["worker"] for event in events if event["fields"].get("event") == "drained"]
    assert [worker["slot"] for worker in drained] == [0, 1]


def test_a_master_that_hangs_is_not_live(calm: tuple[Tree, Admin]) -> None:
    tree, admin = calm
    tree.send_signal(signal.SIGSTOP)
    wait_same(lambda: admin.ask("/livez").status, 503, tree.report)
    assert "the master has not answered" in admin.ask("/readyz").text
    assert "the master has not answered" in admin.json("/live")["error"]
    assert admin.ask("/metrics").status == 200
    tree.send_signal(signal.SIGCONT)
    admin.wait(200, "ready: 2 of 2 workers")


def test_it_holds_nothing_that_is_not_its_own(calm: tuple[Tree, Admin]) -> None:
    tree, admin = calm
    assert admin.ask("/metrics").status == 200
    found = descriptors(admin.pid)
    sockets = ["listener", "channel", "lines", "lines", "lines", "lines", "uvloop's own pair", "uvloop's own pair"]
    wait_same(lambda: descriptors(admin.pid).count("socket"), len(sockets), tree.report)
    assert {one for one in found if one.startswith("/memfd")} == {
        "/memfd:prefork-ledger (deleted)",
        "/memfd:prefork-ring (deleted)",
    }


def test_an_upgrade_takes_the_admin_along_and_no_probe_fails(tree: Tree) -> None:
    tree.start("faults:app", *ADMIN, *CALM)
    admin = Admin(tree)
    admin.wait(200, "ready: 2 of 2 workers")
    assert admin.command("upgrade")[0] == 200
    old = tree.master

    def master() -> int:
        assert admin.probes() == (200, "ready: 2 of 2 workers")
        return int(admin.json("/status")["pid"])

    wait_same(lambda: master() != old, True, tree.report)
    kinds = [event["fields"].get("event") for event in admin.json("/live")["events"]]
    assert kinds.count("upgrade") >= 2
    assert admin.command("stop")[0] == 200
    assert tree.wait_exit() == 0


def test_an_address_that_is_taken_is_one_clear_line_and_exit_code_4(tree: Tree) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        tree.launch("faults:app", "--admin", str(port), "--bind", f"unix:{tree.folder}/site.sock")
        assert tree.wait_exit() == 4
    assert [record["message"] for record in tree.log.records] == [
        f"prefork: error: --admin {port}: cannot bind 127.0.0.1:{port}: address already in use"
    ]
    assert not (tree.folder / "site.sock").exists()
