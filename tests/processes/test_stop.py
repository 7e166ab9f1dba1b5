"""A stop lets everybody finish up to the drain limit; what it cuts is named; twice told, it is at once."""

import signal

import pytest

from tests.processes.client import Lost
from tests.processes.gate import Gate
from tests.processes.load import Load
from tests.processes.tree import CALM, Tree

pytestmark = pytest.mark.processes


def test_a_graceful_stop_finishes_a_slow_request(tree: Tree, gate: Gate) -> None:
    tree.start()
    asked = tree.asking("/gate")
    visitor = gate.wait_entered()
    tree.send_signal(signal.SIGTERM)
    tree.log.wait("drains: stop", count=2)
    visitor.release()
    reply = asked.receive()
    assert reply.status == 200
    assert "connection: close" in reply.head.lower()
    assert tree.wait_exit() == 0


def test_a_graceful_stop_finishes_a_response_that_has_begun(tree: Tree, gate: Gate) -> None:
    tree.start()
    asked = tree.asking("/stream")
    assert asked.receive_until(b"first ").startswith(b"HTTP/1.1 200 ")
    visitor = gate.wait_entered()
    tree.send_signal(signal.SIGTERM)
    tree.log.wait("drains: stop", count=2)
    visitor.release()
    assert b"last" in asked.receive_until(b"0\r\n\r\n")
    asked.wait_closed()
    assert tree.wait_exit() == 0


def test_a_graceful_stop_cuts_at_the_drain_limit_and_names_what_it_cut(tree: Tree, gate: Gate) -> None:
    tree.start("faults:app", "--drain-seconds", "0.3")
    asked = tree.asking("/gate?order=7")
    visitor = gate.wait_entered()
    tree.send_signal(signal.SIGTERM)
    visitor.wait_gone()  # its handler was cancelled
    with pytest.raises((Lost, ConnectionResetError)):
        asked.receive()
    assert tree.wait_exit() == 0
    assert len(tree.log.find(r"cut at the drain limit: GET /gate\?order=7")) == 1


@pytest.mark.parametrize("path", ["/thread", "/block"])
def test_a_handler_that_cannot_be_cancelled_does_not_hold_up_the_stop(tree: Tree, gate: Gate, path: str) -> None:
    tree.start("faults:app", "--drain-seconds", "0.3", *CALM)
    tree.asking(path)
    gate.wait_entered()
    tree.send_signal(signal.SIGTERM)
    assert tree.wait_exit() == 0
    assert len(tree.log.find(rf"(cut at the drain limit|lost with worker .): GET {path}")) == 1


def test_a_graceful_stop_closes_idle_connections(tree: Tree) -> None:
    tree.start()
    used, fresh = tree.client(), tree.client()
    assert used.get("/who").status == 200
    tree.send_signal(signal.SIGTERM)
    used.wait_closed()
    fresh.wait_closed()
    assert tree.wait_exit() == 0


def test_a_graceful_stop_answers_what_waits_in_a_workers_queue(tree: Tree, gate: Gate) -> None:
    tree.start("faults:app", *CALM, workers=1)
    blocking = tree.asking("/block")
    visitor = gate.wait_entered()
    waiting = [tree.asking("/who") for _ in range(5)]
    tree.send_signal(signal.SIGTERM)
    tree.log.wait("drains: stop")
    visitor.release()
    assert blocking.receive().status == 200
    assert {client.receive().status for client in waiting} == {200}
    assert tree.wait_exit() == 0


def test_a_graceful_stop_answers_what_was_taken_back_from_a_stalled_worker(tree: Tree, gate: Gate) -> None:
    tree.start("faults:app", "--stall-seconds", "0.2", workers=1)
    blocking = tree.asking("/block")
    visitor = gate.wait_entered()
    waiting = [tree.asking("/who") for _ in range(5)]
    tree.log.wait("is stalled")
    tree.send_signal(signal.SIGTERM)
    tree.log.wait("drains: stop")
    visitor.release()
    assert blocking.receive().status == 200
    assert {client.receive().status for client in waiting} == {200}
    assert tree.wait_exit() == 0


def test_a_graceful_stop_answers_what_waits_in_the_backlog_of_a_full_server(tree: Tree, gate: Gate) -> None:
    tree.start("faults:app", "--max-connections", "1", *CALM, workers=1)
    first = tree.asking("/gate")
    visitor = gate.wait_entered()
    waiting = [tree.asking("/who") for _ in range(5)]
    tree.send_signal(signal.SIGTERM)
    tree.log.wait("drains: stop")
    visitor.release()
    assert first.receive().status == 200
    assert {client.receive().status for client in waiting} == {200}
    assert tree.wait_exit() == 0


def test_a_graceful_stop_under_load_answers_every_connection_it_accepted(tree: Tree) -> None:
    tree.start("faults:app", *CALM)
    with Load(tree.address, closing=6) as load:
        load.wait_answers(10)
        assert tree.stop() == 0
    refused = [loss for loss in load.losses if "ConnectionRefused" in loss.reason]
    assert [loss for loss in load.losses if loss not in refused] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_a_fast_stop_cuts_what_is_in_progress_and_names_it(tree: Tree, gate: Gate, number: signal.Signals) -> None:
    tree.start("faults:app", "--drain-seconds", "3600")
    asked = tree.asking("/gate?order=7")
    gate.wait_entered()
    tree.send_signal(number)
    assert tree.wait_exit() == 0
    with pytest.raises((Lost, ConnectionResetError)):
        asked.receive()
    assert len(tree.log.find(r"(cut at the drain limit|lost with worker .): GET /gate\?order=7")) == 1


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_stops_at_once_and_names_what_was_lost(tree: Tree, gate: Gate, second: signal.Signals) -> None:
    tree.start("faults:app", "--drain-seconds", "3600")
    tree.asking("/gate?order=7")
    gate.wait_entered()
    tree.send_signal(signal.SIGTERM)
    tree.log.wait("drains: stop", count=2)
    tree.send_signal(second)
    assert tree.wait_exit() == 0
    assert len(tree.log.find(r"lost with worker .: GET /gate\?order=7, after")) == 1


def test_signals_to_the_whole_group_stop_it_gracefully(tree: Tree, gate: Gate) -> None:
    tree.start()
    asked = tree.asking("/gate")
    visitor = gate.wait_entered()
    tree.send_signal_to_all(signal.SIGTERM)
    tree.log.wait("drains: ", count=2)
    visitor.release()
    assert asked.receive().status == 200
    assert tree.wait_exit() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_does_not_wait_for_an_import(tree: Tree, number: signal.Signals) -> None:
    tree.launch("endless:factory()")
    tree.log.wait("listening on")
    tree.send_signal(number)
    assert tree.wait_exit() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_does_not_wait_for_a_start_up_hook(tree: Tree, number: signal.Signals) -> None:
    tree.launch("endless:app")
    tree.log.wait("listening on")
    tree.send_signal(number)
    assert tree.wait_exit() == 0
