"""Blocking code in the threads of a worker: one bound for every kind of app, and nothing that hangs holds up a stop."""

import signal

import pytest

from tests.processes.gate import Gate
from tests.processes.tree import CALM, Tree

pytestmark = pytest.mark.processes


@pytest.mark.parametrize(("target", "other"), [("threads:app", "/asyncio"), ("threads:native", "/def")])
def test_threads_are_bounded_and_one_that_hangs_does_not_hold_up_the_stop(
    tree: Tree, gate: Gate, target: str, other: str
) -> None:
    limits = ("--threads", "2", "--children-wait-seconds", "0.1", "--children-grace-seconds", "0.1")
    tree.start(target, *limits, "--drain-seconds", "0.3", *CALM, workers=1)
    first, second = tree.asking("/gate"), tree.asking(other)  # of whatever kind, they share the threads
    visitors = [gate.wait_entered() for _ in range(2)]
    refused = tree.get("/gate")
    assert (refused.status, "retry-after: 1" in refused.head) == (503, True)
    assert gate.nobody_waits()
    for visitor in visitors:
        visitor.release()
    assert first.receive().text == second.receive().text == str(tree.worker(0))

    left, stays = tree.asking("/gate"), tree.asking(other)
    hanging = [gate.wait_entered() for _ in range(2)]
    left.reset()
    tree.send_signal(signal.SIGTERM)
    tree.log.wait("cut at the drain limit: GET " + other)
    assert tree.wait_exit() == 0
    assert len(tree.log.find("threads.wait_at_gate still runs in a thread, and ends with its process")) == 1
    assert not tree.log.find("is killed")
    for visitor in hanging:
        visitor.wait_gone()
    stays.close()
