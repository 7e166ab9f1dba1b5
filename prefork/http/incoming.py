"""The body of one request on its way to the app: bounded, paused when nobody reads, refused when it is too large."""

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from prefork.errors import Disconnected, RequestError
from prefork.http.body import Framing

if TYPE_CHECKING:
    from prefork.http.connection import Connection

BUFFERED_BYTES: Final = 64 * 1024  # waiting for the app; past it the socket is not read


class IncomingBody:
    """Pieces that have arrived and were not read yet, and the readers that wait for more."""

    __slots__ = ("_buffered", "_connection", "_error", "_pieces", "_waiters", "framing", "most", "received")

    def __init__(self, connection: "Connection", framing: Framing, most: int) -> None:
        self.framing = framing
        self.most = most  # bytes
        self._connection = connection
        self._pieces: deque[bytes] = deque()
        self._buffered = 0
        self.received = 0  # bytes of the body
        self._error: RequestError | Disconnected | None = None
        self._waiters: list[asyncio.Future[None]] = []  # several: an app may listen for the client's end meanwhile

    @property
    def complete(self) -> bool:
        """Whether every byte has arrived. False for a body that broke off or broke a rule."""
        return self.framing.done and self._error is None

    @property
    def broken(self) -> bool:
        """Whether it broke off: the client left, stalled, or sent what is no body."""
        return self._error is not None

    @property
    def exhausted(self) -> bool:
        """Whether the app has read all of it."""
        return self.framing.done and not self._pieces and self._error is None and self.received <= self.most

    @property
    def full(self) -> bool:
        return self._buffered >= BUFFERED_BYTES

    @property
    def awaited(self) -> bool:
        """Whether the app waits for bytes that only the client can send."""
        return bool(self._waiters)

    def put(self, piece: bytes) -> None:
        """Bytes have arrived (maybe none, when only the framing moved on)."""
        self.received += len(piece)
        if piece:
            self._pieces.append(piece)
            self._buffered += len(piece)
        if piece or self.framing.done:
            self._wake()

    def break_off(self, error: RequestError | Disconnected) -> None:
        """No more will come. What has arrived is dropped: half a body is none."""
        if self._error is None:
            self._error = error
            self._pieces.clear()
            self._buffered = 0
            self._wake()

    def limit(self, most: int, declared: int | None) -> None:
        self.most = most
        if (declared or 0) > most or self.received > most:
            raise self._too_large()

    async def read(self) -> bytes:
        """The next piece, b"" at the end. Raises RequestError or Disconnected."""
        while True:
            if self.received > self.most:  # looked at only now: the app may have raised the limit
                self.break_off(self._too_large())
                raise self._too_large()
            if self._error is not None:
                raise self._error
            if self._pieces:
                break
            if self.framing.done:
                return b""
            waiter = self._connection.loop.create_future()
            self._waiters.append(waiter)
            self._connection.body_awaited()
            try:
                await waiter
            finally:
                self._waiters.remove(waiter)
        piece = self._pieces.popleft()
        self._buffered -= len(piece)
        self._connection.body_read()
        return piece

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _too_large(self) -> RequestError:
        return RequestError(413, f"the request body is longer than {self.most} bytes")
