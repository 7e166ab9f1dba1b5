"""Run jobs in processes of this machine: order offloaders as needed, give each its next job, let idle ones go."""

import asyncio
import logging
import os
import pickle
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, Final, Protocol

from prefork.core.backoff import Backoff
from prefork.errors import Crashed, OffloadError
from prefork.jobs import arena, failures, wire
from prefork.jobs.arena import QUICK_BYTES, ArenaReader, ArenaWriter
from prefork.jobs.job import Job, Progress
from prefork.jobs.offloaders import OffloaderHandle
from prefork.jobs.pool import Pool
from prefork.jobs.wire import HEADER, Header
from prefork.system import process

AHEAD_SECONDS: Final = 0.001  # work that is sent to an offloader behind what it runs, so that it never waits for us
AHEAD_JOBS: Final = 16
SLOW_SECONDS: Final = 0.005  # a job that runs longer than this gets no others behind it; they are taken back
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


class LocalBackend:
    """The offloaders of one pool."""

    def __init__(self, pool: Pool, spawner: Spawner, processes: int) -> None:
        """At most `processes` offloaders, beside those that are about to end."""
        self.processes = processes
        spawner.on_forked, spawner.on_gone = self.forked, self.gone
        self._pool = pool
        self._loop = pool.loop
        self._settings = pool.settings
        self._spawner = spawner
        self._handles: dict[int, OffloaderHandle] = {}  # all that are not gone, by number
        self._room = bytearray(wire.MESSAGE_BYTES)
        self._view = memoryview(self._room)
        self._number = 0
        self._backoff = Backoff()
        self._threads: ThreadPoolExecutor | None = None
        self._watching = False  # for jobs behind a slow one
        self._sweeper: asyncio.TimerHandle | None = None
        self._closing: asyncio.Event | None = None

    def start(self) -> None:
        """Order the offloaders that are always there."""
        self._refill()

    # -- what the pool asks

    def wake(self) -> None:
        queue = self._pool.queue
        while (job := queue.peek()) is not None:
            handle = self._choose(job)
            if handle is None or not self._give(handle):
                break
        if len(queue):
            self._grow(len(queue))

    def end(self, job: Job) -> None:
        handle = self._holder(job)
        if handle is None:
            return
        if handle.loading is job:
            del handle.given[job.number]  # it has not been sent
            return
        self._take_back(handle)
        if handle.given.pop(job.number, None) is not None:
            _log.info("%s is ended: job %d (%s) is over", handle, job.number, job.name)
            self._end(handle, job.terms.grace)
        self.wake()

    def pause(self, job: Job) -> None:
        self._pause(job, True)

    def resume(self, job: Job) -> None:
        self._pause(job, False)

    async def close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._closing = asyncio.Event()
        for handle in list(self._handles.values()):
            self._let_go(handle)
        if self._handles:
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS + END_SECONDS):
                    await self._closing.wait()
        if self._threads is not None:
            self._threads.shutdown(wait=False)
        self._spawner.close()

    # -- what the spawner reports

    def forked(self, number: int, pid: int) -> None:
        """An offloader that was ordered is process `pid`."""
        if number in self._handles:
            self._handles[number].pid = pid

    def gone(self, number: int, status: int | None, out_of_memory: bool, reason: str) -> None:
        """An offloader has ended, with `status` as waitpid gives it; None: it was never forked, for that reason."""
        handle = self._handles.get(number)
        if handle is None:
            return
        if not handle.copying:
            self._read(handle)  # what it said last
        if handle.copying:
            handle.when_copied = partial(self.gone, number, status, out_of_memory, reason)
            return
        del self._handles[number]
        expected, handle.leaving = handle.leaving, True
        self._watch(handle)
        self._take_back(handle)
        victims, stack = list(handle.given.values()), handle.stack()
        handle.given.clear()
        if not handle.ready and not expected:
            words = reason or handle.boot_error or process.exit_words(status or 0)
            self._could_not_start(words, stack)
        elif stack and expected:
            _log.info("stacks of %s when it was ended:\n%s", handle, stack)
        elif not victims and not expected:
            _log.warning("%s died while it had no job: %s", handle, process.exit_words(status or 0))
        handle.close()
        for job in victims:
            self._pool.died(job, _crash(job, handle, status or 0, out_of_memory, stack))
        if self._closing is not None:
            if not self._handles:
                self._closing.set()
            return
        self._refill()
        self.wake()

    # -- giving

    def _choose(self, job: Job) -> OffloaderHandle | None:
        """Who takes this job now: an idle offloader, or one that will soon be."""
        nice = job.terms.nice
        ahead: OffloaderHandle | None = None
        average = self._pool.queue.average
        most = min(AHEAD_JOBS, int(AHEAD_SECONDS / average)) if average else 0
        for handle in self._handles.values():
            if not handle.ready or handle.leaving or handle.copying or handle.nice > nice:
                continue
            count = len(handle.given)
            if not count:
                return handle
            if count <= most and not handle.alone and (ahead is None or count < len(ahead.given)):
                ahead = handle
        return None if ahead is None or job.stream or job.payload.big else ahead

    def _give(self, handle: OffloaderHandle) -> bool:
        """Give an offloader the next job. False when it could not take it."""
        job = self._pool.take()
        assert job is not None
        handle.given[job.number] = job
        handle.alone = job.stream or job.payload.big
        handle.nice = max(handle.nice, job.terms.nice)
        if job.payload.big:
            return self._load(handle, job)
        if not handle.send(job):
            del handle.given[job.number]
            self._pool.put_back(job)
            return False
        if len(handle.given) > 1 and not self._watching:
            self._watching = True
            self._loop.call_later(SLOW_SECONDS, self._look_for_slow, self._heads())
        return True

    def _load(self, handle: OffloaderHandle, job: Job) -> bool:
        """Bring a large payload into the arena, then give the job."""
        payload = job.payload
        if handle.arena is None:
            handle.arena = ArenaWriter(self._settings.offload_arena)
        try:
            handle.arena.check(payload, f"the arguments of {job.name}")
        except OffloadError as error:
            del handle.given[job.number]
            self._pool.raised(job, error, 0.0)
            return True
        handle.shrunk = False
        handle.loading = job
        self._copy(
            handle, arena.size(payload), partial(handle.arena.write, payload), partial(self._loaded, handle, job)
        )
        return True

    def _loaded(self, handle: OffloaderHandle, job: Job, _: object, error: BaseException | None) -> None:
        handle.loading = None
        if job.number in handle.given:  # it has not been cancelled meanwhile
            if error is not None:
                del handle.given[job.number]
                self._pool.raised(job, OffloadError(f"{job.name}: no memory for its arguments: {error}"), 0.0)
            elif not handle.send_loaded(job):
                del handle.given[job.number]
                self._pool.put_back(job)
        self._rest(handle)

    def _heads(self) -> dict[int, int]:
        """The job that each offloader with others behind it runs."""
        return {h.number: next(iter(h.given)) for h in self._handles.values() if len(h.given) > 1}

    def _look_for_slow(self, before: dict[int, int]) -> None:
        """Take back what waits behind jobs that have been running since the last look: others may run it."""
        self._watching = False
        now = self._heads()
        for number in [number for number, job in now.items() if before.get(number) == job]:
            self._handles[number].alone = True
            self._take_back(self._handles[number])
        if self._heads():
            self._watching = True
            self._loop.call_later(SLOW_SECONDS, self._look_for_slow, self._heads())
        self.wake()

    def _take_back(self, handle: OffloaderHandle) -> None:
        for job in handle.take_back(self._room):
            self._pool.put_back(job)

    # -- hearing

    def _read(self, handle: OffloaderHandle) -> None:
        """Read what an offloader has sent."""
        while True:
            try:
                length, descriptor = wire.receive(handle.end, self._room)
            except OSError:  # nothing there
                return
            if not length:
                return
            header = Header(*HEADER.unpack_from(self._room))
            if descriptor is not None:
                if handle.results is not None:
                    handle.results.close()
                handle.results = ArenaReader(descriptor)
            if header.flags & wire.IN_ARENA and handle.results is not None:
                handle.shrunk = False
                done = partial(self._hear_big, handle, header)
                work = partial(handle.results.copy, header.arena_bytes, header.buffers)
                self._copy(handle, header.arena_bytes, work, done)
                if handle.copying:
                    return
            else:
                self._hear(handle, header, self._decode(self._view[HEADER.size : length]))
            if len(handle.given) < 2 and not handle.leaving:
                return  # nothing more is there; if there is, the loop tells us

    def _decode(self, stream: memoryview) -> tuple[Any, BaseException | None]:
        try:
            return pickle.loads(stream), None
        except Exception as error:  # whatever its classes raise
            return None, error

    def _hear_big(self, handle: OffloaderHandle, header: Header, value: Any, error: BaseException | None) -> None:
        if header.kind == wire.ITEM:
            handle.send_read()
        self._hear(handle, header, (value, error))

    def _hear(self, handle: OffloaderHandle, header: Header, found: tuple[Any, BaseException | None]) -> None:
        value, error = found
        kind = header.kind
        if kind == wire.READY:
            handle.ready = True
            self._backoff.failures = 0
            self._rest(handle)
            return
        if kind == wire.NOT_READY:
            handle.boot_error = str(value)
            return
        job = handle.given.get(header.number)
        if job is None:
            return  # of a job that is over: late
        if kind == wire.PROGRESS:
            self._pool.add_report(job, Progress(*value))
        elif error is not None:
            self._unreadable(handle, job, error, last=kind != wire.ITEM)
        elif kind == wire.ITEM:
            self._pool.add_item(job, value)
        else:
            del handle.given[header.number]
            if header.flags & wire.KEPT:
                handle.forget_arena()
            if header.flags & wire.LEAVING:
                self._leaves(handle)
            if kind == wire.RESULT:
                self._pool.returned(job, value, header.seconds)
            else:
                self._pool.raised(job, failures.restore(value), header.seconds)
            self._rest(handle)

    def _unreadable(self, handle: OffloaderHandle, job: Job, error: BaseException, last: bool) -> None:
        wrong = OffloadError(f"{job.name}: its result cannot be made anew here: {type(error).__qualname__}: {error}")
        wrong.__cause__ = error
        if last:
            del handle.given[job.number]
        self._pool.raised(job, wrong, 0.0)
        if not last:
            del handle.given[job.number]
            self._end(handle, job.terms.grace)
        self._rest(handle)

    def _copy(
        self,
        handle: OffloaderHandle,
        count: int,
        work: Callable[[], Any],
        done: Callable[[Any, BaseException | None], None],
    ) -> None:
        """Copy `count` bytes, in a thread if they are many, then call `done(value, error)`."""
        if count <= QUICK_BYTES:
            try:
                value = work()
            except Exception as error:
                done(None, error)
            else:
                done(value, None)
            return
        if self._threads is None:
            self._threads = ThreadPoolExecutor(2, "prefork-offload")
        handle.copying = True
        self._watch(handle)

        def finished(future: "asyncio.Future[Any]") -> None:
            handle.copying = False
            error = future.exception()
            done(None if error else future.result(), error)
            self._watch(handle)
            if handle.when_copied is not None:
                handle.when_copied()

        self._loop.run_in_executor(self._threads, work).add_done_callback(finished)

    # -- the offloaders

    def _active(self) -> list[OffloaderHandle]:
        return [handle for handle in self._handles.values() if not handle.leaving]

    def _holder(self, job: Job) -> OffloaderHandle | None:
        return next((handle for handle in self._handles.values() if job.number in handle.given), None)

    def _may_order(self) -> bool:
        return self._closing is None and self._loop.time() >= self._backoff.not_before

    def _grow(self, waiting: int) -> None:
        """Order offloaders for jobs that wait."""
        active = self._active()
        booting = sum(not handle.ready for handle in active)
        if not self._may_order():
            return
        job = self._pool.queue.peek()
        if len(active) >= self.processes and job is not None:
            too_nice = next((h for h in active if h.idle and h.nice > job.terms.nice), None)
            if too_nice is None:
                return
            self._let_go(too_nice)
            active.remove(too_nice)
        for _ in range(min(waiting - booting, self.processes - len(active))):
            self._order()

    def _refill(self) -> None:
        """Keep as many as are wanted at least."""
        missing = self._settings.offload_min - len(self._active())
        for _ in range(missing if self._may_order() else 0):
            self._order()

    def _order(self) -> None:
        self._number += 1
        try:
            handle = OffloaderHandle(self._number)
        except OSError as error:  # out of descriptors
            self._could_not_start(error.strerror or str(error), "")
            return
        self._handles[handle.number] = handle
        self._watch(handle)
        self._spawner.order(handle.number, [handle.far.fileno(), handle.stacks])

    def _pause(self, job: Job, paused: bool) -> None:
        handle = self._holder(job)
        if handle is not None:
            handle.paused = paused
            self._watch(handle)

    def _watch(self, handle: OffloaderHandle) -> None:
        """Let the event loop watch an offloader's channel as long as what it says may be heard now."""
        wanted = not (handle.leaving or handle.copying or handle.paused)
        if wanted != handle.reading:
            handle.reading = wanted
            if wanted:
                self._loop.add_reader(handle.end.fileno(), self._read, handle)
            else:
                self._loop.remove_reader(handle.end.fileno())

    def _rest(self, handle: OffloaderHandle) -> None:
        """An offloader has room for its next job."""
        if not handle.given:
            handle.alone = handle.paused = False
            handle.idle_since = self._loop.time()
            if self._sweeper is None and self._closing is None:
                self._sweeper = self._loop.call_later(self._sweep_seconds, self._sweep)
        if len(self._pool.queue):
            self.wake()

    @property
    def _sweep_seconds(self) -> float:
        return min(SHRINK_SECONDS, self._settings.offload_idle_seconds) / 2

    def _sweep(self) -> None:
        """Let go of offloaders that were idle for long; take memory from arenas that were not used."""
        self._sweeper = None
        now = self._loop.time()
        active = self._active()
        spare = len(active) - self._settings.offload_min
        for handle in active:
            if not handle.idle:
                continue
            if spare > 0 and now - handle.idle_since >= self._settings.offload_idle_seconds:
                spare -= 1
                self._let_go(handle)
            elif not handle.shrunk and now - handle.idle_since >= SHRINK_SECONDS:
                handle.shrink()
        if any(not handle.shrunk for handle in active) or spare > 0:
            self._sweeper = self._loop.call_later(self._sweep_seconds, self._sweep)

    def _leaves(self, handle: OffloaderHandle) -> None:
        """It ends by itself: what it was given behind its last job goes to others."""
        handle.leaving = True
        self._watch(handle)
        self._take_back(handle)
        self._loop.call_later(STOP_SECONDS, self._end_late, handle)
        self._refill()

    def _let_go(self, handle: OffloaderHandle) -> None:
        """Let it end in order: it sees the end of its channel, and runs the stop hooks."""
        if not handle.leaving:
            self._leaves(handle)
            handle.end.shutdown(2)

    def _end_late(self, handle: OffloaderHandle) -> None:
        if handle.number in self._handles:
            _log.warning("%s did not end within %g s and is ended", handle, STOP_SECONDS)
            self._spawner.end(handle.number, 0.0)

    def _end(self, handle: OffloaderHandle, grace: float) -> None:
        """End it and all that its job has started; its place is free at once."""
        handle.leaving = True
        self._watch(handle)
        self._spawner.end(handle.number, grace)
        self._refill()

    def _could_not_start(self, words: str, stack: str) -> None:
        delay = self._backoff.died(None, self._loop.time())
        _log.error("an offloader could not start: %s%s", words.rstrip(), f"\n{stack}" if stack else "")
        if self._active():
            return
        summary = words.strip().splitlines()[-1] if words.strip() else "no reason is known"
        for job in list(self._pool.queue):
            self._pool.raised(job, OffloadError(f"{job.name}: no offloader can start: {summary}"), 0.0)
        if self._closing is None:
            self._loop.call_later(delay, self.wake)


def _crash(job: Job, handle: OffloaderHandle, status: int, out_of_memory: bool, stack: str) -> Crashed:
    """What killed the process that ran a job."""
    words = process.exit_words(status)
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
    code = None if number is not None else os.waitstatus_to_exitcode(status)
    cause = "exit" if number is None else "signal"
    if number == signal.SIGXCPU:
        cause, words = "cpu", f"it used more CPU time than its limit of {job.terms.cpu_seconds:g} s"
    elif out_of_memory:
        cause, words = "memory", f"{words}, killed for lack of memory (out-of-memory kill in its cgroup)"
    return Crashed(f"{job.name} crashed its process (pid {handle.pid}): {words}", cause, number, code, stack)
