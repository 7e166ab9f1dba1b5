"""WSGI apps in a real tree: streams that wait for slow clients, full threads, and an end that nobody is cut by."""

import signal
import threading

import pytest

from tests.processes.client import Lost, first_answered
from tests.processes.gate import Gate
from tests.processes.proc import Death
from tests.processes.tree import CALM, Tree

pytestmark = pytest.mark.processes

MIB = 1 << 20
STREAM_MIB = 200
ROOM_KIB = 32 * 1024  # for what is on its way: far less than the stream


def test_a_wsgi_app_is_told_by_its_signature_and_served_by_all_workers(tree: Tree) -> None:
    tree.start("blocking:app", *CALM)
    assert {tree.get("/who").text for _ in range(4)} == {str(pid) for pid in tree.announced_workers}
    assert tree.get("/nowhere").status == 404
    assert tree.stop() == 0


def test_a_stream_waits_for_a_slow_client_and_memory_stays_flat(tree: Tree, gate: Gate) -> None:
    tree.start("blocking:app", *CALM, workers=1)
    before = int(tree.get("/peak").text)
    client = tree.asking(f"/pieces?{STREAM_MIB}")
    received = len(client.receive_until(b"xxx"))
    assert tree.get("/who").status == 200  # other threads go on
    assert gate.nobody_waits()  # it has not made all of it
    while received < STREAM_MIB * MIB:
        received += len(client.receive_raw())
    gate.wait_entered().release()
    assert int(tree.get("/peak").text) - before < ROOM_KIB


def test_an_upload_waits_for_a_slow_app_and_memory_stays_flat(tree: Tree, gate: Gate) -> None:
    size = 1 + STREAM_MIB * MIB
    tree.start("blocking:app", "--max-body", "1G", *CALM, workers=1)
    before = int(tree.get("/peak").text)
    client = tree.client()
    client.send("/count", f"content-length: {size}\r\n", "POST", b"x")
    visitor = gate.wait_entered()

    def send() -> None:
        for _ in range(STREAM_MIB):
            client.send_raw(b"x" * MIB)

    sender = threading.Thread(target=send)
    sender.start()
    assert tree.get("/who").status == 200
    assert int(tree.get("/peak").text) - before < ROOM_KIB
    visitor.release()
    sender.join()
    assert client.receive().text == str(size)
    assert int(tree.get("/peak").text) - before < ROOM_KIB


def test_when_threads_and_queue_are_full_the_answer_is_503_and_nobody_else_is_lost(tree: Tree, gate: Gate) -> None:
    tree.start("blocking:app", "--threads", "2", "--thread-queue", "1", *CALM, workers=1)
    busy = [tree.asking("/gate") for _ in range(2)]
    visitors = [gate.wait_entered() for _ in range(2)]
    asked = [tree.asking("/who") for _ in range(3)]  # one may wait
    for _ in range(2):
        client = first_answered(asked)
        asked.remove(client)
        reply = client.receive()
        assert reply.status == 503
        assert "retry-after: 1" in reply.head
    for visitor in visitors:
        visitor.release()
    assert {client.receive().status for client in [*busy, *asked]} == {200}
    tree.log.wait("all 2 threads are busy and 1 requests wait")


def test_the_iterable_is_closed_when_the_client_leaves(tree: Tree, gate: Gate) -> None:
    tree.start("blocking:app", *CALM, workers=1)
    client = tree.asking("/closing")
    client.receive_until(b"xxx")
    client.reset()
    gate.wait_entered().release()
    assert tree.stop() == 0


def test_a_graceful_stop_finishes_requests_in_threads(tree: Tree, gate: Gate) -> None:
    tree.start("blocking:app", *CALM)
    asked, streamed = tree.asking("/gate"), tree.asking("/stream")
    streamed.receive_until(b"first ")
    visitors = [gate.wait_entered() for _ in range(2)]
    tree.send_signal(signal.SIGTERM)
    tree.log.wait("drains: stop", count=2)
    for visitor in visitors:
        visitor.release()
    assert asked.receive().status == 200
    assert b"last" in streamed.receive_until(b"0\r\n\r\n")
    assert tree.wait_exit() == 0


def test_a_reload_finishes_requests_in_threads(tree: Tree, gate: Gate) -> None:
    tree.start("blocking:app", *CALM, workers=1)
    old = Death(tree.worker(0))
    asked = tree.asking("/gate")
    visitor = gate.wait_entered()
    tree.send_signal(signal.SIGHUP)
    tree.log.wait("drains: reload")
    assert tree.get("/who").status == 200
    visitor.release()
    assert asked.receive().text == str(old.pid)
    old.wait()
    assert asked.get("/who").status == 200  # the connection went to the new worker


def test_a_thread_that_hangs_does_not_hold_up_the_stop(tree: Tree, gate: Gate) -> None:
    tree.start("blocking:app", "--drain-seconds", "0.3", *CALM, workers=1)
    asked = tree.asking("/gate?order=7")
    gate.wait_entered()
    tree.send_signal(signal.SIGTERM)
    with pytest.raises((Lost, ConnectionResetError)):
        asked.receive()
    assert tree.wait_exit() == 0
    assert len(tree.log.find(r"cut at the drain limit: GET /gate\?order=7")) == 1
    assert len(tree.log.find(r"GET /gate\?order=7 still runs in a thread, and ends with its worker")) == 1


def test_offload_works_from_a_thread(tree: Tree) -> None:
    tree.start("blocking:app", *CALM)
    for _ in range(3):
        worker, offloader = map(int, tree.get("/offload").text.split())
        assert worker in tree.announced_workers
        assert offloader not in tree.announced_workers
    assert tree.stop() == 0
