"""The threads of WSGI apps: as many as are needed, no work forgotten, an end that is waited for, and what they see."""

import asyncio
import contextvars
import logging
import math
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from prefork.apps.threads import CROWD, Threads
from prefork.apps.wsgi import WsgiApplication
from prefork.children.binding import request_task
from prefork.errors import Disconnected
from prefork.jobs import context
from prefork.settings import Settings
from tests.apps.wsgi_server import WsgiServer
from tests.processes.patience import GUARD_SECONDS

StartResponse = Any
Environ = dict[str, Any]


class Piece:
    """Work that tells that it ran, and may wait for others."""

    def __init__(self, wait: threading.Barrier | threading.Event | None = None) -> None:
        self.wait = wait
        self.begun, self.done = threading.Event(), threading.Event()

    def run(self) -> None:
        self.begun.set()
        if self.wait is not None:
            self.wait.wait(GUARD_SECONDS)
        self.done.set()


async def gone(pieces: Iterable[Piece]) -> None:
    for piece in pieces:
        assert await asyncio.to_thread(piece.done.wait, GUARD_SECONDS)


def test_no_thread_before_there_is_work_and_no_more_than_work_needs() -> None:
    async def main() -> None:
        threads = Threads(10, 100)
        assert threads._runners == []
        for _ in range(50):
            piece = Piece()
            assert threads.submit(piece)
            await gone([piece])
        assert len(threads._runners) <= 2  # the second when the first had not lain down yet
        await threads.close()

    asyncio.run(main())


def test_work_that_waits_for_other_work_gets_as_many_threads_as_may_be() -> None:
    async def main() -> None:
        threads, together = Threads(10, 100), threading.Barrier(10)
        for _ in range(3):  # with threads that start, and with threads that wake
            pieces = [Piece(together) for _ in range(10)]
            assert all(threads.submit(piece) for piece in pieces)
            await gone(pieces)  # passes only when ten are there at once
        assert len(threads._runners) == 10
        await threads.close()

    asyncio.run(main())


def test_all_work_is_done_however_it_comes() -> None:
    async def main() -> None:
        threads, pieces = Threads(4, 10_000), list[Piece]()
        for size in [1, 2, 3, 5, 8, 13, 500] * 5:
            batch = [Piece() for _ in range(size)]
            pieces += batch
            assert all(threads.submit(piece) for piece in batch)
            if size % 2:
                await asyncio.sleep(0)
        await gone(pieces)
        await threads.close()

    asyncio.run(main())


@pytest.mark.parametrize("most_waiting", [0, 1, 5])
def test_no_more_work_is_taken_than_threads_and_places_to_wait(most_waiting: int) -> None:
    async def main() -> None:
        threads, gate = Threads(3, most_waiting), threading.Event()
        for _ in range(2):  # with threads that start, and with threads that wake
            gate.clear()
            busy = [Piece(gate) for _ in range(3)]
            for piece in busy:
                assert threads.submit(piece)
                await asyncio.to_thread(piece.begun.wait, GUARD_SECONDS)
            waiting = [Piece() for _ in range(most_waiting)]
            assert all(threads.submit(piece) for piece in waiting)
            assert not threads.submit(Piece())
            gate.set()
            await gone(busy + waiting)
            together = threading.Barrier(4)
            assert all(threads.submit(Piece(together)) for _ in range(3))  # all are done with what they did before
            await asyncio.to_thread(together.wait, GUARD_SECONDS)
        await threads.close()

    asyncio.run(main())


def test_a_burst_is_taken_up_to_threads_and_places_to_wait() -> None:
    async def main() -> None:
        threads, gate = Threads(1, 2), threading.Event()
        assert [threads.submit(Piece(gate)) for _ in range(5)] == [True, True, True, False, False]
        gate.set()
        await threads.close()

    asyncio.run(main())


class Clock:
    """The CPU time of a process that computes all the time, or never, or until it was looked at so many times."""

    def __init__(self, step: float, looks: float = math.inf) -> None:
        self.seconds = 0.0
        self.step = step
        self.looks = looks

    def __call__(self) -> float:
        self.looks -= 1
        self.seconds += self.step if self.looks >= 0 else 0
        return self.seconds


@pytest.mark.parametrize(("step", "most"), [(0.0, 20), (1.0, CROWD)])
def test_threads_that_wait_may_be_many_and_threads_that_compute_may_not(
    step: float, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prefork.apps.threads.process_time", Clock(step))

    async def main() -> None:
        threads, gate = Threads(20, 100), threading.Barrier(most + 1)
        pieces = [Piece(gate) for _ in range(most)] + [Piece() for _ in range(30 - most)]
        assert all(threads.submit(piece) for piece in pieces)
        await asyncio.to_thread(gate.wait, GUARD_SECONDS)  # so many work at once
        await gone(pieces)
        assert most <= CROWD or len(threads._runners) == most
        await threads.close()

    asyncio.run(main())


def test_no_more_than_a_crowd_works_at_once_when_the_process_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prefork.apps.threads.process_time", Clock(1.0))
    at_work, most, lock = [0], [0], threading.Lock()

    class Counted(Piece):
        def run(self) -> None:
            with lock:
                at_work[0] += 1
                most[0] = max(most[0], at_work[0])
            super().run()
            with lock:
                at_work[0] -= 1

    async def main() -> None:
        threads, gate = Threads(20, 100), threading.Barrier(CROWD + 1)
        for _ in range(5):
            pieces = [Counted(gate) for _ in range(CROWD)] + [Counted() for _ in range(20)]
            assert all(threads.submit(piece) for piece in pieces)
            await asyncio.to_thread(gate.wait, GUARD_SECONDS)
            await gone(pieces)
        await threads.close()

    asyncio.run(main())
    assert most[0] == CROWD


def test_work_does_not_wait_for_a_crowd_that_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        threads, gate = Threads(20, 100), threading.Event()
        blocking = [Piece(gate) for _ in range(CROWD + 1)]
        for piece in blocking:
            assert threads.submit(piece)
            await asyncio.to_thread(piece.begun.wait, GUARD_SECONDS)
        # Something else computes: until a thread is called, and while it is on its way.
        monkeypatch.setattr("prefork.apps.threads.process_time", Clock(1.0, looks=2))
        late = Piece()
        assert threads.submit(late)
        await gone([late])  # though nothing else comes
        assert not any(piece.done.is_set() for piece in blocking)
        gate.set()
        await gone(blocking)
        await threads.close()

    monkeypatch.setattr("prefork.apps.threads.process_time", Clock(0.0))
    asyncio.run(main())


def test_closing_waits_for_work_in_progress_and_for_what_waits() -> None:
    async def main() -> None:
        threads, gate = Threads(1, 10), threading.Event()
        pieces = [Piece(gate) for _ in range(5)]
        assert all(threads.submit(piece) for piece in pieces)
        closing = asyncio.create_task(threads.close())
        await asyncio.sleep(0)
        assert not closing.done()
        gate.set()
        await closing
        assert not threads.submit(Piece())
        assert all(piece.done.is_set() for piece in pieces)
        assert not any(runner.is_alive() and runner.work for runner in threads._runners)

    asyncio.run(main())


def test_without_any_thread_work_is_refused_and_the_log_says_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        threads = Threads(4, 10)
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", start)
            assert not threads.submit(Piece())
            assert not threads.submit(Piece())
        piece = Piece()
        assert threads.submit(piece)  # the next one tries again
        await gone([piece])
        await threads.close()

    asyncio.run(main())
    assert caplog.messages == ["no more than 0 threads: can't start new thread"]


# -- what an app sees of it


def test_requests_run_side_by_side_up_to_the_number_of_threads() -> None:
    together = threading.Barrier(3)

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        together.wait(GUARD_SECONDS)
        start_response("200 OK", [])
        return [threading.current_thread().name.encode()]

    with WsgiServer(app, threads=3) as server:
        clients = [server.asking() for _ in range(3)]
        assert len({client.receive().text for client in clients}) == 3


def test_each_request_has_context_variables_of_its_own() -> None:
    variable = contextvars.ContextVar("variable", default="fresh")

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        found = variable.get()
        variable.set("used")
        start_response("200 OK", [])
        return [found.encode()]

    with WsgiServer(app, threads=1) as server:
        client = server.client()
        assert [client.get("/").text for _ in range(3)] == ["fresh"] * 3


@pytest.mark.parametrize("tracking", [True, False])
def test_jobs_know_the_request_once_an_app_uses_offload(tracking: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "tracking", tracking)

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        request = context.origin.get()
        start_response("200 OK", [])
        return [b"none" if request is None else request.id.encode()]

    with WsgiServer(app) as server:
        assert server.get("/", "x-request-id: id-7\r\n").text == ("id-7" if tracking else "none")


def test_children_of_coroutines_for_the_app_belong_to_its_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "tracking", True)

    async def look() -> bytes:
        return b"nobody's" if request_task() in (None, asyncio.current_task()) else b"the request's"

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [])
        return [environ["prefork.wait"](look())]

    with WsgiServer(app) as server:
        assert server.get("/").text == "the request's"


def test_the_loop_runs_coroutines_for_the_app() -> None:
    variable = contextvars.ContextVar("variable", default="")

    async def answer(text: str) -> str:
        await asyncio.sleep(0)
        assert threading.current_thread().name != text
        if text == "/fail":
            raise ValueError(text)
        return variable.get() + text

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        variable.set("with its context: ")
        try:
            text = environ["prefork.wait"](answer(environ["PATH_INFO"]))
        except ValueError as error:
            text = f"raised {error}"
        start_response("200 OK", [])
        return [text.encode()]

    with WsgiServer(app) as server:
        assert server.get("/a").text == "with its context: /a"
        assert server.get("/fail").text == "raised /fail"


def test_what_an_app_waits_for_is_cancelled_when_its_client_leaves(caplog: pytest.LogCaptureFixture) -> None:
    entered, cancelled, raised = threading.Event(), threading.Event(), list[BaseException]()
    done = threading.Event()

    async def for_ever() -> None:
        entered.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cancelled.set()

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        try:
            environ["prefork.wait"](for_ever())
        except BaseException as error:
            raised.append(error)
            raise
        finally:
            done.set()
        return []

    with WsgiServer(app) as server:
        client = server.asking()
        assert entered.wait(GUARD_SECONDS)
        client.reset()
        assert cancelled.wait(GUARD_SECONDS)
        assert done.wait(GUARD_SECONDS)
    assert isinstance(raised[0], Disconnected)
    assert not caplog.records


def test_shutdown_waits_for_what_threads_do_when_their_clients_have_left() -> None:
    entered, gate, steps = threading.Event(), threading.Event(), list[str]()

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"begun"
        entered.set()
        assert gate.wait(GUARD_SECONDS)
        steps.append("the app went on")
        yield b"never sent"

    with WsgiServer(app) as server:
        client = server.asking()
        client.receive_until(b"begun")
        assert entered.wait(GUARD_SECONDS)
        client.reset()
        server.wait_connections(0)
        server.loop.call_soon_threadsafe(server._stop.set)
        gate.set()
    assert steps == ["the app went on"]


def test_shutdown_names_the_request_that_hangs_and_does_not_wait_for_ever(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("prefork.apps.wsgi.THREADS_END_SECONDS", 0.01)
    entered, gate = threading.Event(), threading.Event()

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        entered.set()
        gate.wait(GUARD_SECONDS)
        return []

    caplog.set_level(logging.WARNING)
    with WsgiServer(app) as server:
        server.asking("/hangs?x")
        assert entered.wait(GUARD_SECONDS)
    gate.set()
    assert "GET /hangs?x still runs in a thread, and ends with its worker" in caplog.messages


def test_an_application_may_be_started_again() -> None:
    application = WsgiApplication(lambda environ, start_response: [], Settings())

    async def main() -> None:
        await application.startup()
        await application.shutdown()

    asyncio.run(main())
    asyncio.run(main())
    assert repr(application).startswith("a WSGI app, tests.apps.test_wsgi_threads.")
