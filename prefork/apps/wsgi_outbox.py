"""A response on its way from the app's thread to the event loop: handed over in one go, or piece by piece."""

import asyncio
from collections import deque
from contextlib import suppress
from threading import Lock
from typing import Final

from prefork.apps.wsgi_file import Region

AHEAD_BYTES: Final = 64 * 1024  # the app may be ahead of the client; past it the thread waits


class Bell:
    """How threads wake the event loop: once for all that ring before it wakes."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ringing: deque[Outbox] = deque()
        self._rung = False

    def ring(self, outbox: "Outbox") -> None:
        """There is news in this outbox. Called from any thread."""
        self._ringing.append(outbox)
        if not self._rung:
            self._rung = True
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._answer)

    def _answer(self) -> None:
        self._rung = False  # before looking: who rings after that wakes us again
        ringing = self._ringing
        while ringing:
            waiter = ringing.popleft().waiter
            if waiter is not None and not waiter.done():
                waiter.set_result(None)


class Outbox:
    """Both sides of the hand-over. What one side writes the other only reads, but for `_pieces`, `news`, the lock."""

    _bell: Bell
    # Written by the thread:
    status = 0  # 0 until start_response is called
    fields: tuple[tuple[bytes, bytes], ...] = ()  # of the response, without Content-Length
    declared: int | None = None  # Content-Length
    whole: bytes | None = None  # a body that came in one go: nothing else will come
    region: Region | None = None  # of a file, which is the body
    error: BaseException | None = None  # what the app raised
    ended = False  # nothing else will come
    _put = 0  # bytes
    _pieces: deque[bytes]  # made with the first piece, when _put is no longer 0
    _room: "Lock | None" = None  # held, but for the moment between a change and hearing of it
    # Written by the loop:
    over = False  # it takes nothing any more
    waiter: asyncio.Future[None] | None = None
    _taken = 0  # bytes
    # By both:
    news = False  # something has come since the loop last looked

    # -- in the thread

    def put(self, piece: bytes) -> None:
        """Hand over a piece, which is not empty; wait if the client is slow."""
        if not self._put:
            self._pieces = deque()
        self._put += len(piece)
        self._pieces.append(piece)
        self.tell()
        if self._put - self._taken >= AHEAD_BYTES:
            self._wait_for_room()

    def end(self) -> None:
        self.ended = True
        self.tell()

    def tell(self) -> None:
        if not self.news:
            self.news = True
            self._bell.ring(self)

    def wait_over(self) -> None:
        """Wait until the loop has done with it."""
        room = self._lock()
        while not self.over:
            room.acquire()

    def _wait_for_room(self) -> None:
        room = self._lock()
        while self._put - self._taken >= AHEAD_BYTES and not self.over:
            room.acquire()

    def _lock(self) -> Lock:
        """Made before looking at what the loop has written: it writes first, and then looks for the lock."""
        if self._room is None:
            room = Lock()
            room.acquire()
            self._room = room
        return self._room

    # -- on the loop

    def take(self) -> bytes:
        """The pieces that have come."""
        if not self._put:
            return b""
        pieces = self._pieces
        if len(pieces) == 1:
            return pieces.popleft()
        taken = []
        while pieces:
            taken.append(pieces.popleft())
        return b"".join(taken)

    def written(self, count: int) -> None:
        """So many bytes are with the client, or with its transport."""
        self._taken += count
        self._hear()

    def close(self) -> None:
        """Nothing more is taken."""
        self.over = True
        self._hear()

    def _hear(self) -> None:
        room = self._room
        if room is not None and room.locked():
            room.release()
