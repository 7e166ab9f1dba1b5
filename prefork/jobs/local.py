"""Run jobs in processes of this machine: give each offloader its next job, and hear what comes of it."""

import asyncio
import logging
import os
import pickle
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

from prefork.errors import Crashed, OffloadError
from prefork.jobs import arena, failures, wire
from prefork.jobs.arena import QUICK_BYTES, ArenaWriter
from prefork.jobs.crew import Crew, Spawner
from prefork.jobs.job import Job, Progress
from prefork.jobs.lending import arriving
from prefork.jobs.offloaders import OffloaderHandle
from prefork.jobs.pool import Pool
from prefork.jobs.wire import HEADER, Header
from prefork.system import process

AHEAD_SECONDS: Final = 0.001  # work that is sent to an offloader behind what it runs, so that it never waits for us
AHEAD_JOBS: Final = 16
REFILL_JOBS: Final = 8  # with more than this ahead of it, an offloader is not looked after
RETRY_SECONDS: Final = 0.01  # after a message that could not be sent
SLOW_SECONDS: Final = 0.005  # a job that runs longer than this gets no others behind it; they are taken back

_log = logging.getLogger("prefork.offload")


class LocalBackend:
    """A pool's way to its offloaders and back."""

    def __init__(self, pool: Pool, spawner: Spawner, processes: int) -> None:
        """At most `processes` offloaders, beside those that are about to end."""
        self.processes = processes
        spawner.on_forked, spawner.on_gone = self.forked, self.gone
        self._pool = pool
        self._loop = pool.loop
        self._settings = pool.settings
        self._crew = self._make_crew(spawner)
        self._handles = self._crew.handles
        self._room = bytearray(wire.MESSAGE_BYTES)
        self._view = memoryview(self._room)
        self._threads: ThreadPoolExecutor | None = None
        self._watching = False  # for jobs behind a slow one

    def _make_crew(self, spawner: Spawner) -> Crew:
        return Crew(self._settings, self._loop, spawner, self.processes, self._changed, self._cannot, self.wake)

    def start(self) -> None:
        """Order the offloaders that are always there."""
        self._crew.refill()

    def limit(self, processes: int) -> None:
        """At most so many offloaders from now on; those past that are let go when they are idle."""
        self.processes = self._pool.queue.processes = processes
        self._crew.limit(processes)
        self.wake()

    # -- what the pool asks

    def wake(self) -> None:
        queue = self._pool.queue
        while (job := queue.peek()) is not None:
            handle = self._choose(job)
            if handle is None or not self._give(handle):
                self._crew.grow(len(queue), job.terms.nice)
                break

    def end(self, job: Job) -> None:
        handle = self._crew.holder(job)
        if handle is None:
            return
        if handle.loading is job:
            del handle.given[job.number]  # it has not been sent
            return
        self._read(handle, drain=True)  # it may have answered
        self._take_back(handle)
        # What is left in `given` are jobs that were begun, and only the last of them can be running: one before it has
        # answered meanwhile, and its answer will be dropped.
        if next(reversed(handle.given), None) == job.number:
            del handle.given[job.number]
            _log.info("%s is ended: job %d (%s) is over", handle, job.number, job.name)
            self._crew.end(handle, job.terms.grace)
        self.wake()

    def pause(self, job: Job) -> None:
        self._pause(job, True)

    def resume(self, job: Job) -> None:
        self._pause(job, False)

    async def close(self) -> None:
        await self._crew.close()
        if self._threads is not None:
            self._threads.shutdown(wait=False)

    @property
    def running(self) -> dict[int, int | None]:
        """The pids of the processes that run jobs, by the job's number."""
        return {next(iter(handle.given)): handle.pid for handle in self._handles.values() if handle.given}

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
        self._read(handle, drain=True)  # what it said last
        if handle.copying:
            handle.when_copied = partial(self.gone, number, status, out_of_memory, reason)
            return
        expected = handle.leaving
        self._crew.gone(handle)
        victims, stack = list(handle.given.values()), handle.stack()
        handle.given.clear()
        if not handle.ready and not expected:
            self._crew.could_not_start(reason or handle.boot_error or process.exit_words(status or 0), stack)
        elif stack and expected:
            _log.info("stacks of %s when it was ended:\n%s", handle, stack)
        elif not victims and not expected:
            self._died_idle(handle, status or 0)
        handle.close()
        for job in victims:
            self._pool.died(job, _crash(job, handle, status or 0, out_of_memory, stack))
        if not self._crew.closing:
            self._crew.refill()
            self.wake()

    def _died_idle(self, handle: OffloaderHandle, status: int) -> None:
        """Nobody else tells of it."""
        _log.warning("%s died while it had no job: %s", handle, process.exit_words(status))

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
            if count <= most and not handle.alone and not handle.large and (ahead is None or count < len(ahead.given)):
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
            self._not_sent(handle, job)
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
        return job.number in handle.given

    def _loaded(self, handle: OffloaderHandle, job: Job, _: object, error: BaseException | None) -> None:
        handle.loading = None
        if job.number in handle.given:  # it has not been cancelled meanwhile
            if error is not None:
                del handle.given[job.number]
                self._pool.raised(job, OffloadError(f"{job.name}: no memory for its arguments: {error}"), 0.0)
            elif not handle.send_loaded(job):
                self._not_sent(handle, job)
                return
        self._rest(handle)

    def _not_sent(self, handle: OffloaderHandle, job: Job) -> None:
        """A job could not be given. If the offloader is not dying, it is a shortage, of which nothing tells the end."""
        del handle.given[job.number]
        self._pool.put_back(job)
        self._loop.call_later(RETRY_SECONDS, self._rest, handle)

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

    def _read(self, handle: OffloaderHandle, drain: bool = False) -> None:
        """Read what an offloader has sent: one message, where no other is to be expected, or with `drain` all."""
        while not handle.copying:
            try:
                length, descriptors = wire.receive(handle.end, self._room)
            except OSError:  # nothing there
                return
            if not length:
                return
            header = Header(*HEADER.unpack_from(self._room))
            arena_descriptor, lent = wire.split(header, descriptors) if descriptors else (None, descriptors)
            if header.flags & wire.NEW_ARENA:
                handle.take_results(arena_descriptor)
            last = header.kind in (wire.RESULT, wire.ERROR)
            job = handle.given.pop(header.number, None) if last else handle.given.get(header.number)
            handle.large = bool(header.flags & wire.IN_ARENA)
            if handle.large:
                handle.shrunk = False
                done = partial(self._hear_large, handle, header, job)
                work = partial(handle.copy_results, header.arena_bytes, header.buffers, lent)
                self._copy(handle, header.arena_bytes, work, done)
            else:
                try:
                    if header.flags & wire.LENT:
                        with arriving(lent):
                            value = pickle.loads(self._view[HEADER.size : length])
                    else:
                        value = pickle.loads(self._view[HEADER.size : length])
                except Exception as error:  # whatever its classes raise
                    self._hear(handle, header, job, None, error)
                else:
                    self._hear(handle, header, job, value, None)
            if len(handle.given) < 2 and not drain:
                return  # nothing more is there; if there is, the loop tells us

    def _hear_large(
        self, handle: OffloaderHandle, header: Header, job: Job | None, value: Any, error: BaseException | None
    ) -> None:
        handle.read += 1
        self._say_read(handle)
        self._hear(handle, header, job, value, error)

    def _say_read(self, handle: OffloaderHandle) -> None:
        """The arena of an offloader may be written anew. A stream waits for this."""
        if not handle.leaving and not handle.send_read():
            self._loop.call_later(RETRY_SECONDS, self._say_read, handle)

    def _hear(
        self, handle: OffloaderHandle, header: Header, job: Job | None, value: Any, error: BaseException | None
    ) -> None:
        """What an offloader has said, of a job that is known or is over; or why that cannot be made anew here."""
        kind = header.kind
        if kind == wire.READY:
            self._crew.ready(handle)
            self.wake()
            return
        if kind == wire.NOT_READY:
            handle.boot_error = str(value)
            return
        if header.flags & wire.KEPT:
            handle.forget_arena()
        if header.flags & wire.LEAVING:
            self._crew.leaves(handle)
        if job is not None:
            self._tell(job, kind, value, error, header.seconds)
            if error is not None and kind == wire.ITEM:
                self.end(job)
        if kind in (wire.RESULT, wire.ERROR):
            if handle.paused:  # a stream that nobody wants has come to its end before it could be ended
                handle.paused = False
                self._watch(handle)
            self._rest(handle)

    def _tell(self, job: Job, kind: int, value: Any, error: BaseException | None, seconds: float) -> None:
        """Pass on to the pool what became of a job."""
        if error is not None:
            if kind != wire.PROGRESS:
                words = f"{job.name}: what it sent cannot be made anew here: {type(error).__qualname__}: {error}"
                wrong = OffloadError(words)
                wrong.__cause__ = error
                self._pool.raised(job, wrong, seconds)
        elif kind == wire.PROGRESS:
            self._pool.add_report(job, Progress(*value))
        elif kind == wire.ITEM:
            self._pool.add_item(job, value)
        elif kind == wire.RESULT:
            self._pool.returned(job, value, seconds)
        else:
            self._pool.raised(job, failures.restore(value), seconds)

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

    def _changed(self, handle: OffloaderHandle) -> None:
        """One was ordered, or leaves: then what it was given and has not begun goes to others."""
        self._watch(handle)
        if handle.leaving:
            self._take_back(handle)

    def _cannot(self, reason: str) -> None:
        """No offloader can start: what waits would wait in vain."""
        for job in list(self._pool.queue):
            self._pool.raised(job, OffloadError(f"{job.name}: no offloader can start: {reason}"), 0.0)

    def _pause(self, job: Job, paused: bool) -> None:
        handle = self._crew.holder(job)
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
            self._crew.rest(handle)
        if len(handle.given) <= REFILL_JOBS and len(self._pool.queue):
            self.wake()


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
