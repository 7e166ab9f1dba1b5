"""Responses whose body is made piece by piece."""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import aclosing
from typing import ClassVar, Final, TypeVar

from prefork.web.exchange import Exchange
from prefork.web.headers import HeaderInput
from prefork.web.response import BINARY, Response, build_fields, with_charset
from prefork.web.threads import in_thread

T = TypeVar("T")

_END: Final = object()


class StreamingResponse(Response):
    """A body from an iterator of bytes or str; an ordinary (not async) iterator runs in the thread pool.

    `length` in bytes, if known, becomes the content length; otherwise the body is chunked (RFC 9112, 7.1). The
    iterator is paused while the client is slow and closed when it leaves. An error after the head was sent cuts the
    connection, so that the client cannot take half a body for a whole one. Raises TypeError for str and bytes.
    """

    __slots__ = ("content", "length")

    streams: ClassVar[bool] = True

    def __init__(
        self,
        content: AsyncIterable[bytes | str] | Iterable[bytes | str],
        status: int = 200,
        headers: HeaderInput = None,
        content_type: str | None = None,
        length: int | None = None,
    ) -> None:
        if isinstance(content, str | bytes) or not isinstance(content, AsyncIterable | Iterable):
            raise TypeError(f"StreamingResponse takes an iterator of bytes or str, not {type(content).__qualname__}")
        self.body = b""
        self.status = status
        self.fields = build_fields(BINARY, headers, None if content_type is None else with_charset(content_type))
        self.content = content
        self.length = length

    async def send(self, exchange: Exchange) -> None:
        exchange.start(self.status, self.fields, self.length)
        if exchange.method != "HEAD":
            async with aclosing(iterate(self.content)) as pieces:
                async for piece in pieces:
                    await exchange.write(piece.encode() if isinstance(piece, str) else piece)
        exchange.finish()


async def iterate(content: AsyncIterable[T] | Iterable[T]) -> AsyncGenerator[T, None]:
    """The items of either kind of iterator; closing this closes it."""
    if not isinstance(content, AsyncIterable):
        async with aclosing(_iterate_in_threads(iter(content))) as items:
            async for item in items:
                yield item
        return
    iterator: AsyncIterator[T] = aiter(content)
    try:
        async for item in iterator:
            yield item
    finally:
        close = getattr(iterator, "aclose", None)
        if close is not None:
            await close()


async def _iterate_in_threads(iterator: Iterator[T]) -> AsyncGenerator[T, None]:
    running = False
    try:
        while True:
            running = True
            item = await in_thread(next, iterator, _END)
            running = False
            if item is _END:
                return
            yield item  # type: ignore[misc]  # next() gives T or the sentinel, and the sentinel is gone
    finally:
        # Cancelled within a step, the thread still runs the generator, which then cannot be closed from here; it is
        # when the step ends and nothing refers to it any more.
        close = getattr(iterator, "close", None)
        if close is not None and not running:
            await in_thread(close)
