"""Iterables are closed, slow clients make apps wait, clients that left are not served, and too many get 503."""

import threading
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from prefork.apps.wsgi_outbox import Outbox
from prefork.errors import Disconnected
from tests.apps.wsgi_apps import PLAIN, Body, Environ, StartResponse, answering, endless
from tests.apps.wsgi_server import WsgiServer
from tests.processes.patience import GUARD_SECONDS


@pytest.mark.parametrize("pieces", [[b"a", b"b"], [], ["text"], None])
def test_the_iterable_is_closed_once_in_the_apps_thread(pieces: Any, caplog: pytest.LogCaptureFixture) -> None:
    body = Body(pieces)
    with WsgiServer(answering(body)) as server:
        server.get()
        body.wait_closed_once()


def test_the_iterable_is_closed_when_start_response_was_wrong(caplog: pytest.LogCaptureFixture) -> None:
    body = Body([b"x"])
    with WsgiServer(lambda environ, start_response: body) as server:
        assert server.get().status == 500
        body.wait_closed_once()


def test_a_failing_close_is_logged_and_the_answer_stands(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Body):
        def close(self) -> None:
            super().close()
            raise ValueError("in close")

    body = Failing([b"x"])
    with WsgiServer(answering(body)) as server:
        assert server.get().text == "x"
        body.wait_closed_once()
    assert "failed in close()" in caplog.text


def test_the_iterable_is_closed_when_the_client_leaves() -> None:
    body = Body(endless(b"x" * 1000))
    with WsgiServer(answering(body)) as server:
        client = server.asking()
        client.receive_until(b"xxx")
        client.reset()
        body.wait_closed_once()


def test_the_iterable_is_closed_when_the_server_cuts() -> None:
    body = Body(endless(b"x" * 1000))
    with WsgiServer(answering(body)) as server:
        server.asking().receive_until(b"xxx")
    body.wait_closed_once()


def test_write_tells_the_app_that_its_client_has_left() -> None:
    told: list[BaseException] = []
    done = threading.Event()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", PLAIN)
        try:
            while True:
                write(b"x" * 1000)
        except OSError as error:
            told.append(error)
            raise
        finally:
            done.set()

    with WsgiServer(app) as server:
        client = server.asking()
        client.receive_until(b"xxx")
        client.reset()
        assert done.wait(GUARD_SECONDS)
    assert isinstance(told[0], Disconnected)


def test_a_slow_client_makes_the_app_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = threading.Event()
    original = Outbox._wait_for_room

    def wait_for_room(self: Outbox) -> None:
        waiting.set()
        original(self)

    monkeypatch.setattr(Outbox, "_wait_for_room", wait_for_room)
    piece, pieces, made = b"x" * 10_000, 10_000, [0]

    def body() -> Iterator[bytes]:
        for _ in range(pieces):
            made[0] += 1
            yield piece

    with WsgiServer(answering(body, headers=[("Content-Length", str(len(piece) * pieces))])) as server:
        client = server.asking()
        assert waiting.wait(GUARD_SECONDS)
        for left in range(0, len(piece) * pieces, len(piece) * 100):
            received = left
            assert made[0] * len(piece) - received < 20_000_000  # what the kernel's buffers hold, and ours
            client.receive_until(piece * 100)


def test_a_request_whose_client_left_while_it_waited_is_not_run() -> None:
    entered, gate, ran = threading.Event(), threading.Event(), list[str]()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        ran.append(environ["PATH_INFO"])
        entered.set()
        assert gate.wait(GUARD_SECONDS)
        start_response("200 OK", PLAIN)
        return [b"x"]

    with WsgiServer(app, threads=1) as server:
        first = server.asking("/first")
        assert entered.wait(GUARD_SECONDS)
        gone, last = server.asking("/gone"), server.asking("/last")
        server.wait_waiting(2)
        gone.reset()
        server.wait_connections(2)
        gate.set()
        assert first.receive().status == last.receive().status == 200
    assert ran == ["/first", "/last"]


@pytest.mark.parametrize("queue", [0, 1, 3])
def test_when_all_threads_are_busy_and_enough_wait_the_answer_is_503(
    queue: int, caplog: pytest.LogCaptureFixture
) -> None:
    together, gate = threading.Barrier(3), threading.Event()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/busy":
            together.wait(GUARD_SECONDS)
        assert gate.wait(GUARD_SECONDS)
        start_response("200 OK", PLAIN)
        return [b"x"]

    with WsgiServer(app, threads=2, thread_queue=queue) as server:
        busy = [server.asking("/busy") for _ in range(2)]
        together.wait(GUARD_SECONDS)  # both threads are in the app
        waiting = [server.asking() for _ in range(queue)]
        server.wait_waiting(queue)
        for _ in range(3):
            reply = server.get()
            assert reply.status == 503
            assert "retry-after: 1" in reply.head
        gate.set()
        assert {client.receive().status for client in busy + waiting} == {200}
        assert server.get().status == 200
    lines = [record for record in caplog.records if "all 2 threads are busy" in record.getMessage()]
    assert len(lines) == 1
