"""What a program writes: our ends of its standard output and error. Collected whole, or read as it comes."""

import asyncio
import fcntl
import os
import sys
import termios
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, Self, overload

from prefork.children.programs.ends import WIDE_BYTES
from prefork.errors import OutputTooLarge

READ_BYTES: Final = 64 * 1024  # at a time; the allocator maps larger blocks anew each time
AHEAD_BYTES: Final = 256 * 1024  # read ahead of the app; then the program waits, when the pipe is full too
TAIL_BYTES: Final = 64 * 1024  # kept of standard error while nobody reads it
MOST_BYTES: Final = 1024 * 1024  # of what is asked for whole
SMALL_BYTES: Final = 4096  # pieces are put together up to this: a byte by itself would take 50
PIPE_READS: Final = WIDE_BYTES // READ_BYTES + 1  # what a pipe holds, and its end


class Pipe(ABC):
    """Our end, watched by the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, descriptor: int) -> None:
        """`descriptor` does not block, and is closed here."""
        self.ended = False
        self.on_end: Callable[[], None] = _nothing
        self._loop = loop
        self._descriptor = descriptor
        self._left = sys.maxsize  # bytes that are still taken
        self._watched = True
        loop.add_reader(descriptor, self._read)

    def read_on(self) -> None:
        """Take what is there, as far as there is room for it; not for ever, if somebody goes on writing."""
        for _ in range(PIPE_READS):
            if not self._watched or not self._read():
                break

    def finish(self) -> None:
        """Take what is there, as far as there is room for it, and nothing that still comes."""
        if not self.ended:
            self._left = int.from_bytes(fcntl.ioctl(self._descriptor, termios.FIONREAD, bytes(4)), sys.byteorder)
            if self._left:
                self.read_on()
            else:
                self.close()

    def drop(self) -> None:
        """Nobody will read."""
        self.close()

    def close(self) -> None:
        """Read no more. Who writes gets SIGPIPE."""
        if not self.ended:
            self.ended = True
            self._watch(False)
            os.close(self._descriptor)
            self.on_end()

    def _read(self) -> bool:
        """Returns whether there was something."""
        if self.ended:
            return False
        try:
            data = os.read(self._descriptor, min(READ_BYTES, self._left))
        except BlockingIOError:
            return False
        if data:
            self._left -= len(data)
            self._take(data)
        if not data or not self._left:
            self.close()
        return bool(data)

    @abstractmethod
    def _take(self, data: bytes) -> None:
        """What has come."""

    def _watch(self, wanted: bool) -> None:
        if wanted != self._watched:
            self._watched = wanted
            if wanted:
                self._loop.add_reader(self._descriptor, self._read)
            else:
                self._loop.remove_reader(self._descriptor)


class Collected(Pipe):
    """All of it, up to a limit."""

    def __init__(self, loop: asyncio.AbstractEventLoop, descriptor: int, most: int) -> None:
        """`most` in bytes."""
        super().__init__(loop, descriptor)
        self.too_large = False
        self.on_too_large: Callable[[], None] = _nothing
        self._most = most
        self._data = bytearray()

    def data(self) -> bytes:
        """What has come."""
        return bytes(self._data)

    def _take(self, data: bytes) -> None:
        room = self._most - len(self._data)
        self._data += data[:room]
        if len(data) > room:
            self.too_large = True
            self.close()
            self.on_too_large()


class Buffered(Pipe):
    """The next of it, not more than AHEAD_BYTES before somebody wants it: then the program waits, as with any pipe.

    With `keep_tail` it does not wait before somebody has begun to read: the last TAIL_BYTES are kept.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, descriptor: int, keep_tail: bool = False) -> None:
        super().__init__(loop, descriptor)
        self.bytes = 0  # that are there
        self.keeps_tail = keep_tail
        self._pieces: deque[bytes] = deque()
        self._reader: asyncio.Future[None] | None = None

    async def next(self) -> bytes | None:
        """The next piece; None at the end. Raises RuntimeError when another task waits for it."""
        self.keeps_tail = False
        while not self._pieces:
            if self.ended:
                return None
            self._watch(True)
            await self._wait()
        piece = self._pieces.popleft()
        self.bytes -= len(piece)
        if not self.ended and self.bytes < AHEAD_BYTES:
            self._watch(True)
        return piece

    @property
    def waits(self) -> bool:
        """Whether the program has to wait for who reads."""
        return not self.ended and not self._watched

    def tail(self) -> bytes:
        """The end of what has come and was not read."""
        return b"".join(self._pieces)[-TAIL_BYTES:]

    def drop(self) -> None:
        """Nobody will read."""
        self._pieces.clear()
        self.bytes = 0
        self.close()

    def close(self) -> None:
        super().close()
        self._wake()

    async def _wait(self) -> None:
        if self._reader is not None:
            raise RuntimeError("another task reads this stream")
        self._reader = self._loop.create_future()
        try:
            await self._reader
        finally:
            self._reader = None

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _take(self, data: bytes) -> None:
        self.bytes += len(data)
        if self._pieces and len(self._pieces[-1]) + len(data) <= SMALL_BYTES:
            data = self._pieces.pop() + data
        self._pieces.append(data)
        if self.keeps_tail:
            while self.bytes - len(self._pieces[0]) >= TAIL_BYTES:
                self.bytes -= len(self._pieces.popleft())
        elif self.bytes >= AHEAD_BYTES:
            self._watch(False)
        self._wake()


class Output:
    """An asynchronous iterator over what a program writes, in pieces of up to 64 KiB as they come; one task at a time
    reads. Some hundred KiB are read ahead, no more: a program whose output nobody reads waits."""

    def __init__(self, pipe: Buffered, name: str, keep: object, at_end: Callable[[], Awaitable[None]] | None) -> None:
        """`keep` lives as long as this does. `at_end` is awaited at the end, and may raise."""
        self._pipe = pipe
        self._name = name
        self._keep = keep
        self._at_end = at_end

    def __aiter__(self) -> Self:
        self._pipe.keeps_tail = False
        return self

    async def __anext__(self) -> bytes:
        piece = await self._pipe.next()
        if piece is None:
            if self._at_end is not None:
                await self._at_end()
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        """Read no more: the program gets SIGPIPE when it writes again. What was read ahead is dropped."""
        self._pipe.drop()

    async def read(self, most: int = MOST_BYTES) -> bytes:
        """All that comes until the end. Raises OutputTooLarge for more than `most` bytes, and holds what fits."""
        found = bytearray()
        async for piece in self:
            found += piece
            if len(found) > most:
                raise OutputTooLarge(f"{self._name} is larger than {most} bytes", **{self._name: bytes(found[:most])})
        return bytes(found)

    @overload
    def lines(self, encoding: None = None, longest: int = MOST_BYTES) -> AsyncIterator[bytes]: ...
    @overload
    def lines(self, encoding: str, longest: int = MOST_BYTES) -> AsyncIterator[str]: ...
    async def lines(self, encoding: str | None = None, longest: int = MOST_BYTES) -> AsyncIterator[bytes | str]:
        """Line by line, without the line's end (LF, or CR LF); the last one need not have any. With an `encoding` as
        str, where what is no text becomes U+FFFD. Raises OutputTooLarge for a line of more than `longest` bytes."""
        rest = bytearray()
        async for piece in self:
            searched = len(rest)
            rest += piece
            start = 0
            while (end := rest.find(b"\n", max(start, searched))) >= 0:
                self._check_line(end - start, longest)
                yield _line(bytes(rest[start:end]), encoding)
                start = end + 1
            del rest[:start]
            self._check_line(len(rest), longest)
        if rest:
            yield _line(bytes(rest), encoding)

    def _check_line(self, length: int, longest: int) -> None:
        if length > longest:
            raise OutputTooLarge(f"a line of {self._name} is longer than {longest} bytes")


def _line(line: bytes, encoding: str | None) -> bytes | str:
    line = line.removesuffix(b"\r")
    return line if encoding is None else line.decode(encoding, "replace")


def _nothing() -> None:
    """Nobody has asked to be told."""
