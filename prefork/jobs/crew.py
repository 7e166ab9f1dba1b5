"""Which offloaders a pool has: ordered as jobs wait, kept to a minimum, let go when idle, ended with their job."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

from prefork.core.backoff import Backoff
from prefork.jobs.job import Job
from prefork.jobs.offloaders import OffloaderHandle
from prefork.settings import Settings

SHRINK_SECONDS: Final = 5.0  # an arena that was not used for so long gives its memory back
STOP_SECONDS: Final = 5.0  # for the stop hooks of an offloader that is let go
END_SECONDS: Final = 1.0  # between SIGKILL and the news of its death

_log = logging.getLogger("prefork.offload")


class Spawner(Protocol):
    """Who forks offloaders for us and ends them."""

    on_forked: Callable[[int, int], None]
    on_gone: Callable[[int, int | None, bool, str], None]

    def order(self, number: int, descriptors: list[int]) -> None:
        """Fork one that owns duplicates of these: its channel, its stacks file."""

    def end(self, number: int, grace: float) -> None:
        """End it, with all that its jobs have started: SIGTERM, then SIGKILL after `grace` seconds."""

    def close(self) -> None:
        """No more is wanted."""


class Crew:
    """The offloaders that were ordered and are not gone."""

    def __init__(
        self,
        settings: Settings,
        loop: asyncio.AbstractEventLoop,
        spawner: Spawner,
        most: int,
        changed: Callable[[OffloaderHandle], None],
        failed: Callable[[str], None],
        wake: Callable[[], None],
    ) -> None:
        """At most `most`, beside those that are about to end. `changed` is told of each that comes or leaves, `failed`
        why none can start; `wake` is called when one may be ordered again."""
        self.handles: dict[int, OffloaderHandle] = {}  # by number
        self._settings = settings
        self._loop = loop
        self._spawner = spawner
        self._most = most
        self._changed = changed
        self._failed = failed
        self._wake = wake
        self._number = 0
        self._backoff = Backoff()
        self._sweeper: asyncio.TimerHandle | None = None
        self._empty: asyncio.Event | None = None  # waited for: we close

    @property
    def closing(self) -> bool:
        return self._empty is not None

    def holder(self, job: Job) -> OffloaderHandle | None:
        """Who was given a job and has not answered."""
        return next((handle for handle in self.handles.values() if job.number in handle.given), None)

    def limit(self, most: int) -> None:
        """There may be so many from now on; those past that are let go when they have nothing to do."""
        self._most = max(most, self._settings.offload_min)
        for handle in [handle for handle in self._active() if handle.idle]:
            self.let_go_surplus(handle)

    # -- coming

    def grow(self, waiting: int, nice: int) -> None:
        """Order offloaders for jobs that wait; the first of them must run at that niceness, or below."""
        active = self._active()
        if len(active) >= self._most:
            too_nice = next((handle for handle in active if handle.nice > nice and handle.idle), None)
            if too_nice is None:
                return
            self.let_go(too_nice)
            active.remove(too_nice)
        if not self._may_order():
            return
        booting = sum(not handle.ready for handle in active)
        for _ in range(min(waiting - booting, self._most - len(active))):
            self._order()

    def refill(self) -> None:
        """Keep as many as are wanted at least."""
        missing = self._settings.offload_min - len(self._active())
        for _ in range(missing if self._may_order() else 0):
            self._order()

    def ready(self, handle: OffloaderHandle) -> None:
        """Its start hooks ran."""
        handle.ready = True
        self._backoff.failures = 0
        self.rest(handle)

    def rest(self, handle: OffloaderHandle) -> None:
        """It has nothing to do."""
        handle.alone = handle.paused = False
        handle.idle_since = self._loop.time()
        self.let_go_surplus(handle)
        if self._sweeper is None and not self.closing:
            self._sweeper = self._loop.call_later(self._sweep_seconds, self._sweep)

    def could_not_start(self, words: str, stack: str = "") -> None:
        """One did not get ready. If there is no other, nobody can do what waits."""
        delay = self._backoff.died(None, self._loop.time())
        _log.error("an offloader could not start: %s%s", words.rstrip(), f"\n{stack}" if stack else "")
        if self.closing:
            return
        if not self._active():
            self._failed(words.strip().splitlines()[-1])
        self._loop.call_later(delay, self._again, self._backoff.not_before)

    # -- leaving

    def leaves(self, handle: OffloaderHandle) -> None:
        """It ends by itself."""
        handle.leaving = True
        self._changed(handle)
        self._loop.call_later(STOP_SECONDS, self._end_late, handle)
        self.refill()

    def let_go(self, handle: OffloaderHandle) -> None:
        """Let it end in order: it sees the end of its channel, and runs the stop hooks."""
        if not handle.leaving:
            self.leaves(handle)
            handle.hang_up()

    def let_go_surplus(self, handle: OffloaderHandle) -> None:
        """It has nothing to do: let it end if there are more than there may be."""
        if len(self._active()) > self._most and not self.closing:
            self.let_go(handle)

    def end(self, handle: OffloaderHandle, grace: float) -> None:
        """End it and all that its job has started; its place is free at once."""
        handle.leaving = True
        self._changed(handle)
        self._spawner.end(handle.number, grace)
        self.refill()

    def gone(self, handle: OffloaderHandle) -> None:
        """It is no more."""
        del self.handles[handle.number]
        handle.leaving = True
        self._changed(handle)
        if self._empty is not None and not self.handles:
            self._empty.set()

    async def close(self) -> None:
        """Let all go, and wait for that."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._empty = asyncio.Event()
        for handle in list(self.handles.values()):
            self.let_go(handle)
        if self.handles:
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS + END_SECONDS):
                    await self._empty.wait()
        self._spawner.close()

    # -- ourselves

    def _again(self, due: float) -> None:
        """The time has come that was `due`; by the loop's clock perhaps a little before, and no other timer follows."""
        if self._backoff.not_before <= due:  # no later failure has put it off
            self._backoff.not_before = 0.0
        self.refill()
        self._wake()

    def _active(self) -> list[OffloaderHandle]:
        return [handle for handle in self.handles.values() if not handle.leaving]

    def _may_order(self) -> bool:
        return not self.closing and self._loop.time() >= self._backoff.not_before

    def _order(self) -> None:
        self._number += 1
        try:
            handle = OffloaderHandle.make(self._number)
        except OSError as error:  # out of descriptors
            self.could_not_start(error.strerror or str(error))
            return
        self.handles[handle.number] = handle
        self._changed(handle)
        self._spawner.order(handle.number, [handle.far.fileno(), handle.stacks])

    def _end_late(self, handle: OffloaderHandle) -> None:
        if handle.number in self.handles:
            _log.warning("%s did not end within %g s and is ended", handle, STOP_SECONDS)
            self._spawner.end(handle.number, 0.0)

    @property
    def _sweep_seconds(self) -> float:
        return min(SHRINK_SECONDS, self._settings.offload_idle_seconds) / 2

    def _sweep(self) -> None:
        """Let go of offloaders that were idle for long; take memory from arenas that were not used."""
        self._sweeper = None
        now = self._loop.time()
        active = self._active()
        spare = len(active) - self._settings.offload_min
        for handle in [handle for handle in active if handle.idle]:
            if spare > 0 and now - handle.idle_since >= self._settings.offload_idle_seconds:
                spare -= 1
                self.let_go(handle)
            elif not handle.shrunk and now - handle.idle_since >= SHRINK_SECONDS:
                handle.shrink()
        if spare > 0 or any(not handle.shrunk for handle in active):
            self._sweeper = self._loop.call_later(self._sweep_seconds, self._sweep)
