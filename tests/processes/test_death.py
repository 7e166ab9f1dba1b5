"""A worker's death costs only the requests that ran in it, the log names those, and its slot serves again."""

import os
import signal

import pytest

from tests.processes.client import Client, Lost
from tests.processes.gate import Gate
from tests.processes.load import Load
from tests.processes.proc import descriptors
from tests.processes.tree import CALM, Tree

pytestmark = pytest.mark.processes


def test_killing_a_worker_under_load_costs_only_its_requests_in_flight(tree: Tree) -> None:
    tree.start("faults:app", *CALM)
    victim = tree.worker(0)
    with Load(tree.address, keep_alive=8) as load:
        load.wait_answers(20)
        since = tree.log.mark()
        os.kill(victim, signal.SIGKILL)
        respawned = tree.wait_ready(0, since)
        load.wait_answers(20)
    assert {loss.worker for loss in load.losses} == {str(victim)}
    assert len(load.losses) == 4  # the one in flight on each of its connections
    assert len({loss.client for loss in load.losses}) == 4
    assert str(respawned) in {tree.get("/who").text for _ in range(2)}


def test_the_log_names_exactly_the_requests_that_died(tree: Tree, gate: Gate) -> None:
    tree.start("faults:app", *CALM)
    assert [tree.get("/who").status for _ in range(2)] == [200, 200]  # answered: not among the dead
    asked = [tree.asking(f"/gate?order={number}") for number in range(6)]
    visitors = [gate.wait_entered() for _ in asked]
    victim = visitors[0].pid
    since = tree.log.mark()
    os.kill(victim, signal.SIGKILL)
    died = tree.log.wait(rf"worker (\d) \(generation 1, pid {victim}\) died: signal SIGKILL; 3 requests? lost", since)
    assert int(died[1]) == tree.slot(victim)
    tree.wait_ready(int(died[1]), since)
    named = tree.log.find(rf"lost with worker {died[1]}: GET /gate\?order=(\d), after (\d+\.\d+) s", since)
    for visitor in visitors:
        visitor.release()
    lost = {number for number, client in enumerate(asked) if not is_answered(client)}
    assert {int(match[1]) for match in named} == lost
    assert len(lost) == len(named) == 3
    ages = [float(match[2]) for match in named]
    assert ages == sorted(ages, reverse=True)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/exit/7", "exit status 7"),
        ("/exit/0", "exit status 0"),
        ("/segfault", "signal SIGSEGV"),
    ],
)
def test_a_request_that_ends_its_worker_is_named_with_how_it_ended(tree: Tree, path: str, words: str) -> None:
    tree.start("faults:app", *CALM)
    bystander = tree.client()
    other = bystander.get("/who").text
    since = tree.log.mark()
    client = tree.asking(path)
    died = tree.log.wait(rf"worker (\d) .* died: {words}; 1 requests? lost", since)
    tree.log.wait(rf"lost with worker {died[1]}: GET {path}, after", since)
    with pytest.raises((Lost, ConnectionResetError)):
        client.receive()
    tree.wait_ready(int(died[1]), since)
    assert bystander.get("/who").text == other


def test_a_crash_leaves_its_stack_in_the_log(tree: Tree) -> None:
    tree.start("faults:app", *CALM)
    tree.asking("/segfault")
    stacks = tree.log.wait("stacks of worker . .*\n.*Segmentation fault")
    assert "in segfault" in stacks.string


def test_an_allocation_that_fails_costs_one_request(tree: Tree) -> None:
    tree.start("faults:app", *CALM, workers=1, command=["prlimit", f"--as={4 << 30}"])
    before = tree.get("/who").text
    assert tree.get("/allocate/8192").status == 500
    tree.log.wait("MemoryError")
    assert tree.get("/who").text == before


def test_what_a_killed_worker_had_not_read_is_answered_by_another(tree: Tree, gate: Gate) -> None:
    tree.start("faults:app", *CALM)
    tree.asking("/block")
    victim = gate.wait_entered().pid
    clients = [tree.asking("/who") for _ in range(10)]
    other = str(next(worker.pid for worker in tree.processes("worker") if worker.pid != victim))
    assert {client.receive().text for client in clients[0::2]} == {other}
    os.kill(victim, signal.SIGKILL)
    assert {client.receive().status for client in clients[1::2]} == {200}


def test_a_killed_mold_is_replaced_and_workers_still_respawn(tree: Tree) -> None:
    tree.start("faults:app", *CALM)
    [mold] = tree.processes("mold")
    since = tree.log.mark()
    os.kill(mold.pid, signal.SIGKILL)
    tree.log.wait(r"mold \(generation 1, pid \d+\) died: signal SIGKILL; importing the app anew", since)
    tree.log.wait("worker . .* has drained", since, count=2)
    since = tree.log.mark()
    os.kill(tree.worker(1), signal.SIGKILL)
    pid = tree.wait_ready(1, since)
    assert str(pid) in {tree.get("/who").text for _ in range(2)}
    assert len(tree.processes("mold")) == 1


def test_a_mold_killed_under_load_costs_no_request(tree: Tree) -> None:
    tree.start("faults:app", *CALM)
    with Load(tree.address, keep_alive=3, closing=3) as load:
        os.kill(tree.processes("mold")[0].pid, signal.SIGKILL)
        tree.log.wait("worker . .* has drained", count=2)
        load.wait_answers(10)
    assert load.losses == []
    assert [load.connections[client] for client in load.keep_alive] == [1, 1, 1]


def test_a_slot_whose_workers_die_young_waits_longer_each_time(tree: Tree) -> None:
    tree.start("fragile:app", *CALM, workers=1)
    tree.write("broken", "")
    since = tree.log.mark()
    os.kill(tree.worker(0), signal.SIGKILL)
    tree.log.wait("slot 0 died young", since, count=3)
    delays = [float(m[1]) for m in tree.log.find(r"slot 0 died young; .* starts in ([\d.]+) s", since)]
    assert delays[:3] == [0.1, 0.2, 0.4]
    (tree.folder / "broken").unlink()
    tree.wait_ready(0, since)
    assert tree.get("/who").status == 200


def test_a_worker_killed_again_and_again_leaves_neither_zombie_nor_descriptor(tree: Tree) -> None:
    tree.start("faults:app", *CALM, workers=25)
    kill_all(tree)
    before = descriptors(tree.master)
    kill_all(tree)
    assert descriptors(tree.master) == before
    assert {worker.state for worker in tree.processes("worker")} <= {"S", "R"}
    assert len(tree.processes("worker")) == 25


def kill_all(tree: Tree) -> None:
    """Kill every worker at once and wait for their successors."""
    since = tree.log.mark()
    workers = tree.processes("worker")
    for worker in workers:
        os.kill(worker.pid, signal.SIGKILL)
    for slot in range(len(workers)):
        tree.wait_ready(slot, since)


def is_answered(client: Client) -> bool:
    """Whether the answer comes, or the connection's end."""
    try:
        return client.receive().status == 200
    except (Lost, ConnectionResetError):
        return False
