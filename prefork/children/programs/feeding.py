"""What a program reads: our end of its standard input, written by the app or fed from something."""

import asyncio
import os
from collections.abc import AsyncIterable, Callable
from typing import Final, Protocol, runtime_checkable

FAIR_BYTES: Final = 1024 * 1024  # written in one go to a program that takes it all; then others have their turn
FILE_BYTES: Final = 64 * 1024  # read from a file at a time


@runtime_checkable
class Readable(Protocol):
    """A file object."""

    def read(self, size: int, /) -> bytes: ...


Source = AsyncIterable[bytes] | Readable


class Fed:
    """Our end; one task at a time writes."""

    def __init__(self, loop: asyncio.AbstractEventLoop, descriptor: int) -> None:
        """`descriptor` does not block, and is closed here."""
        self.closed = False
        self._loop = loop
        self._descriptor = descriptor
        self._writer: asyncio.Future[None] | None = None
        self._watched = False
        self._in_one_go = 0

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of it; that takes as long as the program does not read. Raises BrokenPipeError when it reads no
        more, or has ended."""
        if self._writer is not None:
            raise RuntimeError("another task writes to this program")
        view = memoryview(data).cast("B")
        while view:
            written = self._write(view)
            view = view[written:]
            self._in_one_go += written
            if view:
                await self._wait()
            elif self._in_one_go >= FAIR_BYTES:
                self._in_one_go = 0
                await asyncio.sleep(0)

    def close(self) -> None:
        """The program sees the end of its input."""
        if not self.closed:
            self.closed = True
            self._unwatch()
            os.close(self._descriptor)
            self._ready()

    async def feed(self, source: Source, failed: Callable[[Exception], None]) -> None:
        """Write all that comes from there, then close. That the program does not want it all is no error. `failed` is
        told, before the program sees an end, why there is no more than this."""
        try:
            if isinstance(source, AsyncIterable):
                async for piece in source:
                    if not await self._give(piece):
                        break
            else:
                while (piece := await asyncio.to_thread(_read, source)) and await self._give(piece):
                    pass
        except Exception as error:
            if self.closed:
                raise  # the program has ended, and did not want the rest: asyncio logs what was in its way
            failed(error)
        finally:
            self.close()
            close = getattr(source, "aclose", None)
            if close is not None:
                await close()

    def feed_bytes(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of it as the program takes it, then close. As `feed`, without a task."""
        view = memoryview(data).cast("B")

        def go_on() -> None:
            nonlocal view
            try:
                view = view[self._write(view) :]
            except BrokenPipeError:
                view = view[:0]
            if not view:
                self.close()
            elif not self._watched:
                self._watch(go_on)

        go_on()

    async def _give(self, piece: bytes) -> bool:
        """Write it. False when the program reads no more."""
        try:
            await self.write(piece)
        except BrokenPipeError:
            return False
        return True

    def _write(self, view: memoryview) -> int:
        """How much could be written now."""
        if self.closed:
            raise BrokenPipeError("the program's input is closed")
        try:
            return os.write(self._descriptor, view)
        except BlockingIOError:
            return 0

    async def _wait(self) -> None:
        self._writer = self._loop.create_future()
        self._watch(self._ready)
        self._in_one_go = 0
        try:
            await self._writer
        finally:
            self._unwatch()
            self._writer = None

    def _ready(self) -> None:
        if self._writer is not None and not self._writer.done():
            self._writer.set_result(None)

    def _watch(self, call: Callable[[], None]) -> None:
        self._watched = True
        self._loop.add_writer(self._descriptor, call)

    def _unwatch(self) -> None:
        if self._watched:
            self._watched = False
            self._loop.remove_writer(self._descriptor)


class Input:
    """What a program reads, written by the app; one task at a time."""

    def __init__(self, pipe: Fed, keep: object) -> None:
        """`keep` lives as long as this does."""
        self._pipe = pipe
        self._keep = keep

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of it; that takes as long as the program does not read. Raises BrokenPipeError when it reads no
        more, or has ended."""
        await self._pipe.write(data)

    def close(self) -> None:
        """The program sees the end of its input."""
        self._pipe.close()


def _read(source: Readable) -> bytes:
    """The next of it; b"" at the end."""
    piece: bytes | None = source.read(FILE_BYTES)
    if piece is None:  # io.RawIOBase.read: there is nothing for now
        raise BlockingIOError(f"a program cannot be fed from {source!r}, which does not block")
    return piece
