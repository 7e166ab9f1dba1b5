"""Streamed bodies and event streams: every piece arrives, and what made them is closed."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from prefork.errors import Disconnected
from prefork.web import Event, EventStream, Request, Response, StreamingResponse
from prefork.web.events import KEEP_ALIVE, EventInput
from tests.web.fake_exchange import FakeExchange, ask, serve


def returning(response: Callable[[], Response]) -> Callable[[Request], Any]:
    async def handler(request: Request) -> Response:
        return response()

    return handler


def test_async_iterator_of_str_and_bytes() -> None:
    async def pieces() -> AsyncIterator[str | bytes]:
        yield "é"
        yield b"!"

    exchange = ask(returning(lambda: StreamingResponse(pieces(), 201, {"x-a": "1"}, "text/plain")))
    assert (exchange.status, exchange.text, exchange.length) == (201, "é!", None)
    assert exchange.headers.pairs() == [("content-type", "text/plain; charset=utf-8"), ("x-a", "1")]


def test_plain_iterator_runs_in_the_thread_pool() -> None:
    threads: list[str] = []

    def pieces() -> Iterator[bytes]:
        for piece in (b"a", b"b"):
            threads.append(threading.current_thread().name)
            yield piece

    assert ask(returning(lambda: StreamingResponse(pieces(), length=2))).text == "ab"
    assert threading.current_thread().name not in threads
    assert ask(returning(lambda: StreamingResponse([b"a", "b"]))).text == "ab"


@pytest.mark.parametrize("content", ["text", b"bytes", 5, None])
def test_what_is_no_iterator_of_pieces_is_refused(content: Any) -> None:
    with pytest.raises(TypeError, match="StreamingResponse takes an iterator"):
        StreamingResponse(content)


def test_head_sends_no_body_and_runs_no_iterator() -> None:
    iterated: list[str] = []

    async def pieces() -> AsyncIterator[str]:
        iterated.append("iterated")
        yield "x"

    exchange = ask(returning(lambda: StreamingResponse(pieces(), length=5)), "HEAD")
    assert (exchange.status, exchange.length, exchange.body) == (200, 5, b"")
    assert ask(returning(lambda: EventStream(pieces())), "HEAD").status == 200
    assert not iterated


def test_error_within_the_body_cuts_the_connection_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"half"
        raise RuntimeError("broke")

    exchange = ask(returning(lambda: StreamingResponse(pieces())))
    assert (exchange.body, exchange.aborted) == (b"half", True)
    assert "broke" in caplog.text


def leave(exchange: FakeExchange) -> None:
    exchange.finished = True  # the next write raises Disconnected


@pytest.mark.parametrize("kind", ["async", "plain", "events"])
def test_iterator_is_closed_when_the_client_leaves(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    closed: list[str] = []

    async def forever() -> AsyncIterator[str]:
        try:
            while True:
                yield "x"
        finally:
            closed.append("closed")

    def plain() -> Iterator[str]:
        try:
            while True:
                yield "x"
        finally:
            closed.append("closed")

    makers: dict[str, Callable[[], Response]] = {
        "async": lambda: StreamingResponse(forever()),
        "plain": lambda: StreamingResponse(plain()),
        "events": lambda: EventStream(forever()),
    }
    exchange = FakeExchange(on_write=leave)
    asyncio.run(serve(returning(makers[kind]), exchange))
    assert closed == ["closed"]
    assert not caplog.records  # a client may leave


def test_iterator_is_closed_when_the_request_is_cancelled() -> None:
    closed: list[str] = []

    async def main() -> None:
        async def pieces() -> AsyncIterator[str]:
            try:
                yield "x"
                await asyncio.Event().wait()
            finally:
                closed.append("closed")

        arrived = asyncio.Event()
        exchange = FakeExchange(on_write=lambda _: arrived.set())
        response = StreamingResponse(pieces())
        task = asyncio.create_task(response.send(exchange))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert closed == ["closed"]


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ("hi", "data: hi\n\n"),
        ("", "data: \n\n"),
        ("a\nb\r\nc\rd", "data: a\ndata: b\ndata: c\ndata: d\n\n"),
        ({"data": {"n": 1}}, 'data: {"n":1}\n\n'),
        (Event("x", event="tick", id="7", retry=500), "event: tick\nid: 7\nretry: 500\ndata: x\n\n"),
        ({"data": None, "event": "é"}, "event: é\ndata: null\n\n"),
    ],
)
def test_event_on_the_wire(event: EventInput, expected: str) -> None:
    async def events() -> AsyncIterator[EventInput]:
        yield event

    exchange = ask(returning(lambda: EventStream(events(), {"x-a": "1"})))
    assert exchange.text == expected
    assert exchange.headers["content-type"] == "text/event-stream"
    assert exchange.headers["cache-control"] == "no-cache"
    assert exchange.headers["x-a"] == "1"


@pytest.mark.parametrize("fields", [{"id": "a\nb"}, {"id": "a\0"}, {"event": "a\r"}, {"retry": -1}])
def test_event_that_would_break_the_stream_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="an event's"):
        Event("x", **fields)


def test_quiet_event_stream_is_kept_alive_by_comments_and_the_iterator_keeps_its_task() -> None:
    async def main() -> None:
        beats = asyncio.Event()
        tasks: set[Any] = set()

        def on_write(exchange: FakeExchange) -> None:
            if exchange.pieces[-1] == KEEP_ALIVE:
                beats.set()

        async def events() -> AsyncIterator[str]:
            tasks.add(asyncio.current_task())
            yield "first"
            async with asyncio.timeout(60):
                tasks.add(asyncio.current_task())
                await beats.wait()
                yield "second"
            tasks.add(asyncio.current_task())

        exchange = FakeExchange(on_write=on_write)
        await serve(returning(lambda: EventStream(events(), keep_alive=0.001)), exchange)
        pieces = [piece for piece in exchange.pieces if piece != KEEP_ALIVE]
        assert pieces == [b"data: first\n\n", b"data: second\n\n"]
        assert tasks == {asyncio.current_task()}
        left = await asyncio.gather(*asyncio.all_tasks() - tasks, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in left)

    asyncio.run(main())


def test_keep_alive_ends_quietly_when_the_client_is_gone() -> None:
    async def main() -> None:
        gone = asyncio.Event()

        class Gone(FakeExchange):
            async def write(self, data: bytes) -> None:
                gone.set()
                raise Disconnected("the client left")

        async def events() -> AsyncIterator[str]:
            await gone.wait()
            for event in list[str]():
                yield event

        exchange = Gone()
        await serve(returning(lambda: EventStream(events(), keep_alive=0.001)), exchange)

    asyncio.run(main())
