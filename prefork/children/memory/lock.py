"""A lock between processes, threads and coroutines that survives the death of its holder."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final

from prefork.children.memory.buffer import SharedBuffer, place_in
from prefork.children.memory.claim import LockClaim

BYTES: Final = 1
HELD: Final = 1  # what the byte says while somebody is in there: whoever dies leaves it so


class SharedLock:
    """One at a time may hold it, among all processes that it was sent to, their threads and their coroutines.

    `with lock:` waits in its thread, for jobs, forks and threads; `async with lock:` lets the event loop turn. Should
    its holder die, the kernel lets go of it (fcntl(2), open file description locks), and the next one finds `abandoned`
    set: what the lock guards may be half-done. It is not reentrant: who holds it and asks again waits for ever.
    """

    SIZE: Final = BYTES

    def __init__(self, buffer: SharedBuffer | None = None, offset: int = 0) -> None:
        """A lock in the one byte at `offset` of a buffer, which must be zero at first; without a buffer, in memory of
        its own. Raises ValueError."""
        self._buffer = place_in(buffer, offset, BYTES, 1, "SharedLock")
        self._offset = offset
        self._byte = self._buffer.view[offset : offset + BYTES]

    def __repr__(self) -> str:
        return f"<SharedLock{', held here' if self.held else ''}>"

    @property
    def held(self) -> bool:
        """Whether somebody in this process holds it."""
        return self._claim().held

    @property
    def abandoned(self) -> bool:
        """For its holder: whether the one before died while holding it. Set right what it left; the next one finds
        False."""
        return self._claim().abandoned

    def acquire(self, timeout: float | None = None) -> bool:
        """Take it; wait for at most `timeout` seconds, without one for as long as it takes. False when it was not free
        in time. Raises RuntimeError where an event loop would wait too: say `async with`, or a `timeout` of 0; OSError
        for lack of a descriptor."""
        if timeout != 0:
            _refuse_on_loop()
        until = None if timeout is None else time.monotonic() + timeout
        claim = self._claim()
        if not claim.turns.take_now() and (timeout == 0 or not _wait(claim.turns.queue(), until, claim.turns.give)):
            return False
        try:
            if not claim.lock_now():
                if until is None:
                    claim.lock()
                elif timeout == 0 or not _wait(claim.lock_later(), until, claim.unlock):
                    claim.turns.give()
                    return False
        except BaseException:
            claim.turns.give()
            raise
        self._entered(claim)
        return True

    async def acquire_async(self) -> None:
        """Take it; the event loop turns meanwhile. For a limit on the time, `asyncio.timeout`. Raises OSError for lack
        of a descriptor."""
        claim = self._claim()
        if not claim.turns.take_now():
            await _wait_async(claim.turns.queue(), claim.turns.give)
        try:
            if not claim.lock_now():
                await _wait_async(claim.lock_later(), claim.unlock)
        except BaseException:
            claim.turns.give()
            raise
        self._entered(claim)

    def release(self) -> None:
        """Let go of it. Raises RuntimeError when nobody in this process holds it, and ValueError when its buffer was
        closed meanwhile: that has let go of it, and the next one finds it abandoned."""
        claim = self._claim()
        if not claim.held:
            raise RuntimeError("this SharedLock is not held in this process")
        claim.held = claim.abandoned = False
        try:
            self._buffer.check_open()  # else the byte may be another's by now
            self._byte[0] = 0
            claim.unlock()
        finally:
            claim.turns.give()

    def __enter__(self) -> "SharedLock":
        self.acquire()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.release()

    async def __aenter__(self) -> "SharedLock":
        await self.acquire_async()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.release()

    def __reduce__(self) -> tuple[type["SharedLock"], tuple[SharedBuffer, int]]:
        return SharedLock, (self._buffer, self._offset)

    def _claim(self) -> LockClaim:
        """That of this process: a forked child has none of its parent's."""
        locks = self._buffer.locks
        claim: LockClaim | None = locks.of_byte.get(self._offset)
        if claim is None:
            claim = locks.of_byte.setdefault(self._offset, LockClaim(locks, self._offset))
        return claim

    def _entered(self, claim: LockClaim) -> None:
        claim.abandoned = self._byte[0] == HELD
        self._byte[0] = HELD
        claim.held = True


def _refuse_on_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError("a SharedLock within an event loop: say `async with lock:`, else the loop waits too")


def _wait(coming: "Future[None]", until: float | None, undo: Callable[[], None]) -> bool:
    """Wait for what was asked for, until a time on the monotonic clock. False when it has not come; what comes just
    when we are interrupted is undone."""
    try:
        coming.result(None if until is None else max(0.0, until - time.monotonic()))
    except TimeoutError:
        if coming.cancel():
            return False
        coming.result()  # it has come just now, or never will
    except BaseException:
        if not coming.cancel() and coming.exception() is None:
            undo()
        raise
    return True


async def _wait_async(coming: "Future[None]", undo: Callable[[], None]) -> None:
    """Wait for what was asked for; what comes just when we are cancelled is undone."""
    try:
        await asyncio.wrap_future(coming)
    except BaseException:
        if not coming.cancel() and coming.exception() is None:
            undo()
        raise
