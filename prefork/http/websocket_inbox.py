"""The messages of one WebSocket that have arrived and wait for the app: bounded, and with an end that says why."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from prefork.errors import WebSocketClosed

QUEUED_BYTES: Final = 64 * 1024  # of messages that wait; past it no more are read, however few they are


class Inbox:
    """At most `most` messages, or QUEUED_BYTES and the message that goes beyond. `on_room` is called when half of it is
    free again after it was full."""

    __slots__ = ("_bytes", "_loop", "_messages", "_most", "_on_room", "_waiter", "end", "full")

    def __init__(self, most: int, loop: asyncio.AbstractEventLoop, on_room: Callable[[], None]) -> None:
        self.full = False  # until half of it is taken
        self.end: WebSocketClosed | None = None
        self._most = most
        self._bytes = 0  # text counts by characters
        self._messages: deque[str | bytes] = deque()
        self._loop = loop
        self._on_room = on_room
        self._waiter: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, message: str | bytes) -> bool:
        """A message has arrived. Returns whether that is enough for now."""
        self._messages.append(message)
        self._bytes += len(message)
        if len(self._messages) >= self._most or self._bytes >= QUEUED_BYTES:
            self.full = True
        if self._waiter is not None:
            self._wake()
        return self.full

    def finish(self, code: int, reason: str) -> None:
        """No more will come; what has arrived can still be taken. Only the first end counts."""
        if self.end is None:
            self.end = WebSocketClosed(code, reason)
            self._wake()

    def clear(self) -> None:
        """Nobody wants what has arrived."""
        self._messages.clear()
        self._bytes = 0

    async def get(self) -> str | bytes:
        """The next message. Raises WebSocketClosed at the end, RuntimeError when another task waits already."""
        messages = self._messages
        while not messages:
            if self.end is not None:
                raise self.ended()
            if self._waiter is not None:
                raise RuntimeError("another task waits for this WebSocket's messages already")
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        message = messages.popleft()
        self._bytes -= len(message)
        if self.full and len(messages) <= self._most // 2 and self._bytes <= QUEUED_BYTES // 2:
            self.full = False
            self._on_room()
        return message

    def ended(self) -> WebSocketClosed:
        """The end, anew for each who is told: an exception keeps the traceback of where it was raised."""
        assert self.end is not None
        return WebSocketClosed(self.end.code, self.end.reason)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
