"""What a connection does with its transport: batches pipelined responses, makes producers wait for slow clients, and
stops reading while there is no room for more."""

import asyncio
from collections.abc import Callable
from typing import Final

from prefork.errors import Disconnected

HELD_BYTES: Final = 64 * 1024  # responses of a pipelined batch are written together up to this
WRITES_A_TURN: Final = 32  # what one producer may write before others are served: 2 MiB in pieces of 64 KiB, about 1 ms


class Outgoing(asyncio.Protocol):
    """What a connection writes, on its way to the transport; and whether it reads."""

    __slots__ = (
        "_held",
        "_held_bytes",
        "_reading",
        "_transport",
        "_turn",
        "_write_waiters",
        "loop",
        "lost",
        "on_lost",
        "writable",
    )
    _transport: asyncio.Transport

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.lost = False  # nothing written from now on will arrive
        self.writable = True  # the transport's buffer is below its high-water mark
        self.on_lost: Callable[[], object] | None = None
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._reading = True
        self._write_waiters: list[asyncio.Future[None]] = []
        self._turn = WRITES_A_TURN

    @property
    def transport(self) -> asyncio.Transport:
        """Once the connection is made."""
        return self._transport

    def write(self, data: bytes) -> None:
        """Write now, after what is held."""
        if self._held:
            self._held.append(data)
            self.flush()
        else:
            self._transport.write(data)

    def hold(self, data: bytes) -> None:
        """Write together with what comes next, or at the next flush; now when it becomes too much to hold."""
        if self._held_bytes + len(data) > HELD_BYTES:
            self.write(data)
            return
        self._held.append(data)
        self._held_bytes += len(data)

    def flush(self) -> None:
        if self._held:
            data = b"".join(self._held)
            self._held.clear()
            self._held_bytes = 0
            self._transport.write(data)

    def _pause_reading(self) -> None:
        if self._reading and not self._transport.is_closing():
            self._reading = False
            self._transport.pause_reading()

    def _resume_reading(self) -> bool:
        """Returns whether it had stopped."""
        if self._reading or self._transport.is_closing():
            return False
        self._reading = True
        self._transport.resume_reading()
        return True

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        self._wake_writers()

    async def drained(self) -> None:
        """Wait until the client has read enough. Raises Disconnected.

        A client that reads as fast as the app writes makes nobody wait. The loop has a turn now and then all the same:
        others are to be served, and an error that the transport meets while it writes is told by the loop.
        """
        if self.writable:
            self._turn -= 1
            if not self._turn:
                self._turn = WRITES_A_TURN
                await asyncio.sleep(0)
        while not self.writable and not self.lost:
            waiter = self.loop.create_future()
            self._write_waiters.append(waiter)
            await waiter
        if self.lost:
            raise Disconnected("the client left")

    async def flushed(self) -> None:
        """Wait until the transport has nothing left to write. Raises Disconnected."""
        self.flush()
        self._transport.set_write_buffer_limits(0)
        try:
            await self.drained()
        finally:
            self._transport.set_write_buffer_limits()

    def lose(self) -> None:
        """Nobody reads any more: whoever waits for that hears of it."""
        self.lost = True
        self._wake_writers()
        if self.on_lost is not None:
            self.on_lost()

    def fileno(self) -> int:
        descriptor: int = self._transport.get_extra_info("socket").fileno()
        return descriptor

    def _wake_writers(self) -> None:
        waiters, self._write_waiters = self._write_waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
