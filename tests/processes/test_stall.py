"""A worker that stops turning is not chosen, loses its queue to others, shows its stacks, and ends when it hangs."""

import os
import signal
import time

import pytest

from tests.processes.gate import Gate
from tests.processes.patience import PATIENCE
from tests.processes.tree import Tree

pytestmark = pytest.mark.processes

STALL_SECONDS = 1.0  # the default
SLACK_SECONDS = 1.0 * PATIENCE  # what the promise allows on top


def test_what_a_stopped_worker_has_not_read_is_answered_within_the_stall_limit_and_a_second(tree: Tree) -> None:
    tree.start()
    stopped, other = tree.worker(0), tree.worker(1)
    os.kill(stopped, signal.SIGSTOP)
    begin = time.monotonic()
    clients = [tree.asking("/who") for _ in range(20)]
    assert {client.receive().text for client in clients} == {str(other)}
    assert time.monotonic() - begin < STALL_SECONDS + SLACK_SECONDS
    tree.log.wait(r"worker 0 .* is stalled: .* \(the process is stopped\); 10 unread connections go to others")


def test_a_stopped_worker_is_chosen_again_when_it_goes_on(tree: Tree) -> None:
    tree.start("faults:app", "--stall-seconds", "0.2")
    stopped, other = tree.worker(0), tree.worker(1)
    os.kill(stopped, signal.SIGSTOP)
    tree.log.wait("worker 0 .* is stalled")
    assert {tree.get("/who").text for _ in range(6)} == {str(other)}
    os.kill(stopped, signal.SIGCONT)
    tree.log.wait("worker 0 .* runs again")
    assert {tree.get("/who").text for _ in range(6)} == {str(stopped), str(other)}


def test_a_blocked_worker_shows_its_stacks_once_and_is_not_chosen_until_it_goes_on(tree: Tree, gate: Gate) -> None:
    tree.start("faults:app", "--stall-seconds", "0.2")
    blocking = tree.asking("/block")
    visitor = gate.wait_entered()
    slot = tree.slot(visitor.pid)
    tree.log.wait(rf"worker {slot} .* is stalled")
    assert "in wait_at_gate" in tree.log.wait(rf"stacks of worker {slot}").string
    other = tree.worker(1 - slot)
    assert {tree.get("/who").text for _ in range(6)} == {str(other)}
    visitor.release()
    assert blocking.receive().status == 200
    tree.log.wait(rf"worker {slot} .* runs again")
    assert len(tree.log.find("stacks of worker")) == 1
    assert {tree.get("/who").text for _ in range(6)} == {str(visitor.pid), str(other)}


def test_each_stall_shows_its_own_stacks(tree: Tree, gate: Gate) -> None:
    tree.start("faults:app", "--stall-seconds", "0.2", workers=1)
    for count in (1, 2):
        blocking = tree.asking("/block")
        visitor = gate.wait_entered()
        tree.log.wait("stacks of worker 0", count=count)
        visitor.release()
        assert blocking.receive().status == 200
        tree.log.wait("worker 0 .* runs again", count=count)


def test_connections_wait_while_the_only_worker_is_blocked(tree: Tree, gate: Gate) -> None:
    tree.start("faults:app", "--stall-seconds", "0.2", workers=1)
    tree.asking("/block")
    visitor = gate.wait_entered()
    early = [tree.asking("/who") for _ in range(5)]
    tree.log.wait("worker 0 .* is stalled")
    late = [tree.asking("/who") for _ in range(5)]
    visitor.release()
    assert {client.receive().status for client in early + late} == {200}


@pytest.mark.parametrize("path", ["/loop", "/sleep", "/deadlock"])
def test_a_worker_that_hangs_is_aborted_with_its_stacks_and_replaced(tree: Tree, path: str) -> None:
    tree.start("faults:app", "--stall-seconds", "0.2", "--hang-seconds", "0.6")
    tree.asking(path)
    hung = tree.log.wait(r"worker (\d) \(generation 1, pid (\d+)\) is stalled")
    since = tree.log.mark()
    slot = int(hung[1])
    tree.log.wait(rf"worker {slot} .* is aborted: its event loop has not turned for", since)
    tree.log.wait(rf"worker {slot} .* died: signal SIGABRT; 1 requests? lost", since)
    tree.log.wait(rf"lost with worker {slot}: GET {path}, after", since)
    assert f"in {path[1:]}" in tree.log.wait(rf"stacks of worker {slot}").string
    fresh = tree.wait_ready(slot, since)
    assert str(fresh) in {tree.get("/who").text for _ in range(2)}


def test_a_worker_that_does_not_end_when_aborted_is_killed_and_replaced(tree: Tree) -> None:
    tree.start("faults:app", "--stall-seconds", "0.2", "--hang-seconds", "0.6")
    tree.asking("/stubborn")
    killed = tree.log.wait(r"worker (\d) .* is killed: it did not die of SIGABRT")
    tree.log.wait(rf"worker {killed[1]} .* died: signal SIGKILL; 1 requests? lost")
    tree.log.wait(rf"lost with worker {killed[1]}: GET /stubborn, after")
    fresh = tree.log.wait(rf"worker {killed[1]} \(generation 1, pid (\d+)\) is ready", count=2)
    assert fresh[1] in {tree.get("/who").text for _ in range(2)}


def test_a_hang_limit_of_zero_kills_nobody(tree: Tree, gate: Gate) -> None:
    tree.start("faults:app", "--stall-seconds", "0.05", "--hang-seconds", "0")
    blocking = tree.asking("/block")
    visitor = gate.wait_entered()
    tree.log.wait("is stalled")
    with_other = [tree.get("/who") for _ in range(200)]
    assert len({reply.text for reply in with_other}) == 1
    visitor.release()
    assert int(blocking.receive().text) == visitor.pid
