"""A transport without a socket, as strict as uvloop's, with the client's end of the connection in plain sight."""

import asyncio
import os
from typing import Any, cast

HIGH_WATER = 64 * 1024  # bytes, as asyncio and uvloop have them
LOW_WATER = 16 * 1024
READ_BYTES = 256 * 1024  # of one read of the loop


class FakeTransport(asyncio.Transport):
    """The server's end. The kernel's part is played by two buffers: what the client sent, what it has not read."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: asyncio.Protocol, extra: dict[str, Any]) -> None:
        super().__init__(extra)
        self._loop = loop
        self._protocol = protocol
        self.writes: list[bytes] = []  # each call of write()
        self.sent = bytearray()  # what has reached the client
        self.unread = b""  # what the client has sent and the server has not read
        self.ended = False  # the client sees that nothing more will come
        self.reset = False  # the client sees a reset: closed with unread input, or aborted
        self.reading = True
        self.lost = False
        self.slow = False  # the client reads only when told to
        self._unsent = b""
        self._client_ended = False
        self._eof = False
        self._closing = False
        self._writing_paused = False
        self._limits = HIGH_WATER, LOW_WATER
        protocol.connection_made(self)

    # -- the client's side

    def arrive(self, data: bytes) -> None:
        self.unread += data
        self._loop.call_soon(self._deliver)

    def end(self) -> None:
        """The client sends FIN."""
        self._client_ended = True
        self._loop.call_soon(self._deliver)

    def vanish(self) -> None:
        """The client sends RST."""
        self._unsent = b""
        self._lose(ConnectionResetError(104, "Connection reset by peer"))

    def accept(self, count: int) -> None:
        """The client reads `count` bytes of what waits for it."""
        self.sent += self._unsent[:count]
        self._unsent = self._unsent[count:]
        self._after_sending()

    # -- the server's side, as asyncio declares it

    def write(self, data: "bytes | bytearray | memoryview[Any]") -> None:
        self._require_alive()
        if self._eof:
            raise RuntimeError("Cannot call write() after write_eof()")
        if self._closing:
            return
        self.writes.append(bytes(data))
        self._unsent += data
        if not self.slow:
            self.accept(len(self._unsent))
        elif len(self._unsent) > self._limits[0] and not self._writing_paused:
            self._writing_paused = True
            self._protocol.pause_writing()

    def write_eof(self) -> None:
        self._require_alive()
        if not self._closing:
            self._eof = True
            self._after_sending()

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._after_sending()

    def abort(self) -> None:
        self._unsent = b""
        self.reset = True
        self._lose(None)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = cast(asyncio.Protocol, protocol)

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        self._require_alive()
        self.reading = False

    def resume_reading(self) -> None:
        self._require_alive()
        self.reading = True
        self._loop.call_soon(self._deliver)

    def is_reading(self) -> bool:
        return self.reading and not self._closing

    def get_write_buffer_size(self) -> int:
        return len(self._unsent)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        high = HIGH_WATER if high is None else high
        self._limits = high, high // 4 if low is None else low
        if len(self._unsent) > high and not self._writing_paused:
            self._writing_paused = True
            self._protocol.pause_writing()

    # -- the kernel's part

    def _deliver(self) -> None:
        if not self.is_reading():
            return
        data, self.unread = self.unread[:READ_BYTES], self.unread[READ_BYTES:]
        if data:
            self._protocol.data_received(data)
            self._loop.call_soon(self._deliver)
        elif self._client_ended:
            self._client_ended = False
            if not self._protocol.eof_received():
                self.close()

    def _after_sending(self) -> None:
        if self._writing_paused and len(self._unsent) <= self._limits[1]:
            self._writing_paused = False
            self._protocol.resume_writing()
        if self._unsent:
            return
        if self._eof:
            self.ended = True
        if self._closing and not self.lost:
            self.ended = True
            self.reset = self.reset or bool(self.unread)
            self._lose(None)

    def _lose(self, error: Exception | None) -> None:
        self._closing = True
        if not self.lost:
            self._loop.call_soon(self._report_lost, error)

    def _report_lost(self, error: Exception | None) -> None:
        if not self.lost:
            self.lost = True
            self._protocol.connection_lost(error)

    def _require_alive(self) -> None:
        if self.lost:
            raise RuntimeError("the handler is closed")


class Pipe:
    """What a connection believes to be its socket, when files go past the transport."""

    def __init__(self) -> None:
        self.reader, self._writer = os.pipe2(os.O_NONBLOCK)

    def fileno(self) -> int:
        return self._writer

    def read(self) -> bytes:
        try:
            return os.read(self.reader, 1 << 20)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        os.close(self.reader)
        os.close(self._writer)
