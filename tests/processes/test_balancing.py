"""Connections are spread over the workers as promised, and wait in the backlog when nobody has room."""

import os
import signal
import threading
from collections import Counter

import pytest

from tests.processes.client import first_answered
from tests.processes.gate import Gate
from tests.processes.load import Load
from tests.processes.tree import CALM, Tree

pytestmark = pytest.mark.processes


def test_round_robin_gives_each_worker_its_turn(tree: Tree) -> None:
    tree.start("faults:app", *CALM, workers=4)
    served = Counter(tree.get("/who").text for _ in range(200))
    assert len(served) == 4
    assert max(served.values()) - min(served.values()) <= 1


def test_round_robin_is_exact_for_a_thousand_connections_at_once(tree: Tree) -> None:
    tree.start("faults:app", *CALM, workers=4)
    served: Counter[str] = Counter()
    lock = threading.Lock()

    def ask() -> None:
        for _ in range(125):
            text = tree.get("/who").text
            with lock:
                served[text] += 1

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert served.total() == 1000
    assert len(served) == 4
    assert max(served.values()) - min(served.values()) <= 1


def test_least_connections_avoids_the_busy_worker(tree: Tree, gate: Gate) -> None:
    tree.start("faults:app", "--balance", "least-connections", *CALM)
    waiting = tree.asking("/gate")
    busy = gate.wait_entered()
    assert {tree.get("/who").text for _ in range(20)} == {str(w.pid) for w in tree.processes("worker")} - {
        str(busy.pid)
    }
    busy.release()
    assert waiting.receive().status == 200


def test_least_connections_spreads_what_stays_open(tree: Tree) -> None:
    tree.start("faults:app", "--balance", "least-connections", *CALM, workers=3)
    served = Counter(tree.client().get("/who").text for _ in range(30))
    assert sorted(served.values()) == [10, 10, 10]


def test_what_has_no_room_waits_in_the_backlog_and_is_served(tree: Tree, gate: Gate) -> None:
    tree.start("faults:app", "--max-connections", "2", *CALM, workers=1)
    clients = [tree.client() for _ in range(7)]
    for client in clients:
        client.send("/gate", "connection: close\r\n")
    inside = [gate.wait_entered(), gate.wait_entered()]
    while inside:
        assert gate.nobody_waits()
        inside.pop(0).release()
        served = first_answered(clients)
        assert served.receive().status == 200
        clients.remove(served)
        if len(clients) > len(inside):
            inside.append(gate.wait_entered())
    assert clients == []


def test_a_full_worker_is_passed_over(tree: Tree, gate: Gate) -> None:
    tree.start("faults:app", "--max-connections", "1", *CALM)
    tree.asking("/gate")
    busy = gate.wait_entered()
    assert str(busy.pid) not in {tree.get("/who").text for _ in range(5)}


def test_a_connection_that_closes_while_all_are_full_makes_room(tree: Tree) -> None:
    tree.start("faults:app", "--max-connections", "3", *CALM, workers=1)
    with Load(tree.address, closing=12) as load:
        load.wait_answers(100)
    assert load.losses == []


def test_a_connection_handed_back_waits_while_all_others_are_full(tree: Tree) -> None:
    tree.start("faults:app", "--max-connections", "2", *CALM)
    stays, goes = str(tree.worker(0)), str(tree.worker(1))
    clients = [tree.client() for _ in range(4)]
    served = [client.get("/who").text for client in clients]
    assert sorted(served) == sorted([stays, stays, goes, goes])
    tree.send_signal(signal.SIGTTOU)
    tree.log.wait("worker 1 .* has drained")
    handed_back = [client for client, worker in zip(clients, served, strict=True) if worker == goes]
    for client in handed_back:
        client.send("/who")
    for client, worker in zip(clients, served, strict=True):
        if worker == stays:
            client.close()
    assert [client.receive().text for client in handed_back] == [stays, stays]


def test_kernel_balancing_serves_from_every_worker(tree: Tree) -> None:
    tree.start("faults:app", "--balance", "kernel", *CALM)
    served = Counter(tree.get("/who").text for _ in range(100))
    assert served.keys() == {str(worker.pid) for worker in tree.processes("worker")}


def test_kernel_balancing_loses_nothing_that_a_killed_worker_did_not_accept(tree: Tree) -> None:
    tree.start("faults:app", "--balance", "kernel", *CALM)
    victim = tree.worker(0)
    os.kill(victim, signal.SIGSTOP)  # what the kernel gives it from now on stays in its backlog
    clients = [tree.asking("/who") for _ in range(40)]
    since = tree.log.mark()
    os.kill(victim, signal.SIGKILL)
    assert {client.receive().status for client in clients} == {200}
    tree.wait_ready(0, since)


def test_kernel_balancing_loses_nothing_across_a_reload(tree: Tree) -> None:
    tree.start("faults:app", "--balance", "kernel", *CALM)
    with Load(tree.address, keep_alive=3, closing=3) as load:
        tree.send_signal(signal.SIGHUP)
        tree.log.wait("has drained", count=2)
        load.wait_answers(20)
    assert load.losses == []
    assert [load.connections[client] for client in load.keep_alive] == [1, 1, 1]


def test_kernel_balancing_keeps_to_max_connections(tree: Tree, gate: Gate) -> None:
    tree.start("faults:app", "--balance", "kernel", "--max-connections", "1", *CALM, workers=1)
    first, second = tree.asking("/gate"), tree.asking("/gate")
    visitor = gate.wait_entered()
    assert gate.nobody_waits()
    visitor.release()
    served = first_answered([first, second])
    assert served.receive().status == 200
    served.close()
    gate.wait_entered().release()
    assert (second if served is first else first).receive().status == 200


def test_kernel_balancing_leaves_in_the_backlog_what_a_worker_has_no_descriptor_for(tree: Tree) -> None:
    tree.start("faults:app", "--balance", "kernel", *CALM, workers=1)
    first = tree.client()
    first.send("/full/1")
    assert first.receive().status == 200
    waiting = tree.asking("/who")
    tree.log.wait("cannot accept connections for now: Too many open files")
    first.send("/full/0")
    assert first.receive().status == 200
    assert waiting.receive().text == str(tree.worker(0))
