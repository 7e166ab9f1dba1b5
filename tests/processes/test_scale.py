"""Workers come and go on demand, one at a time, and no request notices."""

import os
import signal

import pytest

from tests.processes.gate import Gate
from tests.processes.load import Load
from tests.processes.tree import CALM, Tree

pytestmark = pytest.mark.processes


def test_scaling_up_and_down_under_load_fails_no_request_and_closes_no_connection(tree: Tree) -> None:
    tree.start("faults:app", *CALM, workers=1)
    with Load(tree.address, keep_alive=4, closing=4) as load:
        for slot in (1, 2):
            since = tree.log.mark()
            tree.send_signal(signal.SIGTTIN)
            tree.wait_ready(slot, since)
            load.wait_answers(5)
        for slot in (2, 1):
            since = tree.log.mark()
            tree.send_signal(signal.SIGTTOU)
            tree.log.wait(rf"worker {slot} .* has drained", since)
            load.wait_answers(5)
    assert load.losses == []
    assert len(load.answered_by) == 3
    assert [load.connections[client] for client in load.keep_alive] == [1, 1, 1, 1]
    assert [worker.title for worker in tree.processes("worker")] == ["prefork worker 0 g1"]


def test_the_last_worker_stays(tree: Tree) -> None:
    tree.start(workers=1)
    tree.send_signal(signal.SIGTTOU)
    tree.log.wait("there may be no fewer than 1")
    assert tree.get("/who").status == 200


def test_a_worker_that_is_told_to_end_is_replaced_and_loses_nothing(tree: Tree) -> None:
    tree.start("faults:app", *CALM)
    told = tree.worker(0)
    with Load(tree.address, keep_alive=4, closing=4) as load:
        since = tree.log.mark()
        os.kill(told, signal.SIGTERM)
        tree.log.wait(rf"worker 0 \(generation 1, pid {told}\) has drained", since)
        assert tree.wait_ready(0, since) != told
        load.wait_answers(5)
    assert load.losses == []
    assert [load.connections[client] for client in load.keep_alive] == [1, 1, 1, 1]


def test_the_only_worker_that_is_told_to_end_loses_nothing(tree: Tree) -> None:
    tree.start("faults:app", *CALM, workers=1)
    with Load(tree.address, keep_alive=4, closing=4) as load:
        since = tree.log.mark()
        os.kill(tree.worker(0), signal.SIGTERM)
        tree.log.wait("worker 0 .* has drained", since)
        load.wait_answers(5)
    assert load.losses == []
    assert [load.connections[client] for client in load.keep_alive] == [1, 1, 1, 1]


def test_a_worker_that_goes_finishes_its_slow_request(tree: Tree, gate: Gate) -> None:
    tree.start("faults:app", *CALM)
    asked = [tree.asking("/gate"), tree.asking("/gate")]
    visitors = [gate.wait_entered(), gate.wait_entered()]
    tree.send_signal(signal.SIGTTOU)
    tree.log.wait("worker 1 .* drains: scale-down")
    for visitor in visitors:
        visitor.release()
    assert {client.receive().text for client in asked} == {str(visitor.pid) for visitor in visitors}
    tree.log.wait("worker 1 .* has drained")
    assert len({client.get("/who").text for client in asked}) == 1  # both connections are now with worker 0
