"""A reload brings fresh code and loses nothing; one that fails leaves the old generation serving."""

import os
import signal

import pytest

from tests.processes.gate import Gate
from tests.processes.load import Load
from tests.processes.proc import Death
from tests.processes.tree import CALM, Tree

pytestmark = pytest.mark.processes

VERSION = """
from prefork import App

app = App()


@app.on_startup
def start():
    {hook}


@app.get("/who")
async def who(request):
    return "{text}"
"""

# Waits at the gate while it is imported.
WAITING = """
import socket

with socket.socket(socket.AF_UNIX) as end:
    end.connect("gate")
    end.recv(1)
"""


def version(text: str, hook: str = "pass") -> str:
    return VERSION.format(text=text, hook=hook)


@pytest.mark.parametrize("balance", ["round-robin", "least-connections"])
def test_a_reload_under_load_fails_no_request_and_closes_no_connection(tree: Tree, balance: str) -> None:
    tree.start("faults:app", "--balance", balance, *CALM)
    with Load(tree.address, keep_alive=4, closing=4) as load:
        for generation in (2, 3):
            tree.send_signal(signal.SIGHUP)
            tree.log.wait(rf"worker . \(generation {generation - 1}, .* has drained", count=2)
            load.answered_by.clear()
            load.wait_answers(10)
    assert load.losses == []
    assert [load.connections[client] for client in load.keep_alive] == [1, 1, 1, 1]
    fresh = {str(tree.worker(slot)) for slot in (0, 1)}
    assert fresh <= load.answered_by.keys()


def test_idle_connections_go_to_the_new_generation_unnoticed(tree: Tree) -> None:
    tree.start("faults:app", *CALM)
    clients = [tree.client() for _ in range(20)]
    for client in clients[::2]:  # the others have not asked for anything yet
        client.get("/who")
    tree.send_signal(signal.SIGHUP)
    tree.log.wait("has drained", count=2)
    fresh = {str(tree.worker(slot)) for slot in (0, 1)}
    assert {client.get("/who").text for client in clients} == fresh


def test_a_reload_serves_the_code_as_it_is_now(tree: Tree) -> None:
    tree.write("shop.py", version("old"))
    tree.start("shop:app", *CALM)
    client = tree.client()
    assert client.get("/who").text == "old"
    tree.write("shop.py", version("new"))
    tree.send_signal(signal.SIGHUP)
    tree.log.wait("has drained", count=2)
    assert client.get("/who").text == "new"


def test_the_old_mold_goes_with_its_last_worker(tree: Tree, gate: Gate) -> None:
    tree.start("faults:app", *CALM)
    [mold] = tree.processes("mold")
    death = Death(mold.pid)
    asked = tree.asking("/gate")
    visitor = gate.wait_entered()
    tree.send_signal(signal.SIGHUP)
    tree.log.wait("drains: reload", count=2)
    tree.log.wait("has drained")
    assert [mold.title for mold in tree.processes("mold")] == ["prefork mold g1", "prefork mold g2"]
    visitor.release()
    assert asked.receive().status == 200
    death.wait()


def test_broken_code_keeps_the_old_generation_and_is_explained(tree: Tree) -> None:
    tree.write("shop.py", version("old"))
    tree.start("shop:app", *CALM)
    before = tree.processes("worker")
    with Load(tree.address, keep_alive=2, closing=2) as load:
        for times in (1, 2):
            tree.write("shop.py", "import no_such_module_at_all\n")
            tree.send_signal(signal.SIGHUP)
            tree.log.wait("reload failed: generation 1 keeps serving", count=times)
            load.wait_answers(5)
        assert tree.processes("worker") == before
        assert len(tree.log.find("ModuleNotFoundError: No module named 'no_such_module_at_all'")) == 2
        tree.write("shop.py", version("new"))
        tree.send_signal(signal.SIGHUP)
        tree.log.wait("has drained", count=2)
        load.wait_answers(5)
    assert load.losses == []
    assert tree.get("/who").text == "new"


def test_a_target_that_was_gone_for_a_while_does_not_change_the_exit_code(tree: Tree) -> None:
    tree.write("shop.py", version("old"))
    tree.start("shop:app", *CALM)
    tree.write("shop.py", "")
    tree.send_signal(signal.SIGHUP)
    tree.log.wait("reload failed: generation 1 keeps serving")
    assert tree.stop() == 0


def test_a_worker_respawns_from_the_old_code_after_a_failed_reload(tree: Tree) -> None:
    tree.write("shop.py", version("old"))
    tree.start("shop:app", *CALM)
    tree.write("shop.py", "import no_such_module_at_all\n")
    tree.send_signal(signal.SIGHUP)
    tree.log.wait("reload failed")
    since = tree.log.mark()
    os.kill(tree.worker(0), signal.SIGKILL)
    tree.wait_ready(0, since)
    assert {tree.get("/who").text for _ in range(2)} == {"old"}


def test_a_start_up_hook_that_fails_keeps_the_old_generation(tree: Tree) -> None:
    tree.write("shop.py", version("old"))
    tree.start("shop:app", *CALM)
    with Load(tree.address, keep_alive=2, closing=2) as load:
        tree.write("shop.py", version("bad", hook='raise RuntimeError("no database on purpose")'))
        tree.send_signal(signal.SIGHUP)
        tree.log.wait("RuntimeError: no database on purpose")
        tree.log.wait("reload failed: generation 1 keeps serving")
        load.wait_answers(5)
        since = tree.log.mark()
        os.kill(tree.worker(0), signal.SIGTERM)
        tree.wait_ready(0, since)
        tree.write("shop.py", version("new"))
        tree.send_signal(signal.SIGHUP)
        tree.log.wait(r"\(generation 1, .* has drained", count=3)
        load.wait_answers(5)
    assert load.losses == []
    assert tree.get("/who").text == "new"


def test_no_mold_is_left_of_a_generation_that_could_not_boot(tree: Tree) -> None:
    tree.write("shop.py", version("old"))
    tree.start("shop:app", *CALM)
    tree.write("shop.py", version("bad", hook="raise RuntimeError"))
    tree.send_signal(signal.SIGHUP)
    tree.log.wait("reload failed")
    since = tree.log.mark()
    tree.send_signal(signal.SIGTTIN)
    tree.wait_ready(2, since)
    assert [mold.title for mold in tree.processes("mold")] == ["prefork mold g1"]


def test_a_reload_during_a_reload_comes_after_it(tree: Tree, gate: Gate) -> None:
    tree.write("shop.py", version("old"))
    tree.start("shop:app", *CALM)
    with Load(tree.address, keep_alive=2, closing=2) as load:
        tree.write("shop.py", WAITING + version("between"))
        tree.send_signal(signal.SIGHUP)
        importing = gate.wait_entered()
        tree.write("shop.py", version("new"))
        for count in (1, 2):
            tree.send_signal(signal.SIGHUP)
            tree.log.wait("another is going on", count=count)
        importing.release()
        tree.log.wait(r"\(generation 2, .* has drained", count=2)
        load.wait_answers(5)
    assert load.losses == []
    assert load.answered_by.keys() == {"old", "between", "new"}
    assert [worker.title for worker in tree.processes("worker")] == ["prefork worker 0 g3", "prefork worker 1 g3"]


def test_scaling_up_during_a_reload_ends_with_fresh_workers_only(tree: Tree, gate: Gate) -> None:
    tree.write("shop.py", version("old"))
    tree.start("shop:app", *CALM)
    with Load(tree.address, keep_alive=2, closing=2) as load:
        tree.write("shop.py", WAITING + version("new"))
        tree.send_signal(signal.SIGHUP)
        importing = gate.wait_entered()
        tree.send_signal(signal.SIGTTIN)
        tree.wait_ready(2, 0)
        importing.release()
        tree.log.wait("has drained", count=3)
        load.wait_answers(5)
    assert load.losses == []
    assert [worker.title for worker in tree.processes("worker")] == [f"prefork worker {slot} g2" for slot in range(3)]
