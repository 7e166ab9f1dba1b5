"""The threads of a worker that run blocking code: started when needed, woken no more often than needed, bounded."""

import asyncio
import logging
from collections import deque
from contextlib import suppress
from threading import Lock, Thread
from time import process_time
from typing import Final, Protocol

from prefork.children.busy import pools

CROWD: Final = 8  # threads; more that compute only keep the event loop waiting
SWITCH_SECONDS: Final = 0.001  # a thread's turn when others wait (sys.setswitchinterval); Python's own 5 ms are long
NAP_SECONDS: Final = 0.01  # until a thread that found a crowd looks again; by then it is known who computes
QUIET_SECONDS: Final = 10.0  # between two lines that say the system has no thread for us

_log = logging.getLogger("prefork.app")


class Work(Protocol):
    """What a thread does."""

    def run(self) -> None:
        """Called once, in a thread. Raises nothing."""


class Runner(Thread):
    """One thread. A daemon: work that hangs does not keep its process from ending."""

    def __init__(self, pool: "Threads", number: int) -> None:
        super().__init__(name=f"prefork-wsgi-{number}", daemon=True)
        self._pool = pool
        self._bell = Lock()  # held, but for the moment between being called and waking
        self._bell.acquire()
        self.work: Work | None = None  # in progress

    def call(self) -> None:
        """Wake it. Only who took it from the idle ones may."""
        self._bell.release()

    def run(self) -> None:
        pool, waiting = self._pool, self._pool.waiting
        napped_at: float | None = None  # CPU seconds of this process; None: we were called
        while True:
            if napped_at is None:
                pool.calling = False  # before looking: who adds work after that calls again
            crowded = pool.crowded(napped_at)  # then those who work will look, each before it becomes idle
            while waiting and not crowded:
                try:
                    self.work = waiting.popleft()
                except IndexError:  # another thread was faster
                    break
                if waiting and not pool.calling:
                    pool.call_one()
                self.work.run()
                self.work = None
            if pool.closed:
                break
            pool.idle.append(self)
            if pool.closed or (waiting and not pool.calling and not crowded):
                pool.call_one()  # something came while we looked away; it may be we who are called
            napped_at = self._rest(nap=crowded and bool(waiting) and not pool.watched)
        pool.ended()

    def _rest(self, nap: bool) -> float | None:
        """Sleep until called. `nap`: look again soon, for whoever is at work may block for long, and maybe it was not
        they who computed, but the event loop or the garbage collector. Returns the CPU seconds at which it lay down, if
        nobody called.
        """
        pool = self._pool
        if not nap:
            self._bell.acquire()
            return None
        pool.watched = True
        napped_at = process_time()
        called = self._bell.acquire(timeout=NAP_SECONDS)
        pool.watched = False
        if called:
            return None
        try:
            pool.idle.remove(self)
        except ValueError:  # somebody is about to call
            self._bell.acquire()
            return None
        return napped_at


class Threads:
    """A pool made for many short pieces of work.

    A thread that is called takes the next piece and, if more wait, calls another before it begins. As long as one is on
    its way no other is called. So pieces that block get a thread each, while pieces that do not are done by one thread
    in a row: a wake-up costs more than a small piece of work. Idle threads are called last in, first out, which keeps
    the busy ones warm and the others asleep.

    Threads that compute share one interpreter lock with the event loop, which has to wait for its turn behind all of
    them. So beyond CROWD threads, one that was called lies down again if the process has computed while it waited for
    the lock: pieces that wait for something else may be as many as there are threads, pieces that compute may not.
    While work waits, one of those that lay down looks again now and then.

    `submit` and `close` belong to the loop. Each operation on `waiting` and `idle` is atomic, and both sides look again
    after they have shown themselves, so that no lock is needed.
    """

    def __init__(self, most: int, most_waiting: int) -> None:
        """At most `most` threads; `most_waiting` pieces of work may wait when all of them are busy."""
        self._loop = asyncio.get_running_loop()
        self._most = most
        self._most_waiting = most_waiting
        self._runners: list[Runner] = []
        self._living = 0
        self._all_ended = asyncio.Event()
        self._starting = Lock()
        self._failed_at = -QUIET_SECONDS
        self.waiting: deque[Work] = deque()
        self.idle: list[Runner] = []
        self.calling = False  # a thread was called, and has not looked for work yet
        self._called_at = 0.0  # CPU seconds of this process
        self.watched = False  # a thread that found a crowd naps, and will look again by itself
        self.closed = False
        pools.add(self)

    @property
    def busy(self) -> float:
        """The share of its threads that are at work, 0 to 1."""
        return max(0.0, min(1.0, (len(self._runners) - len(self.idle)) / self._most))

    @property
    def in_progress(self) -> list[Work]:
        """What threads are doing now."""
        return [work for runner in self._runners if (work := runner.work) is not None]

    def submit(self, work: Work) -> bool:
        """Have a thread run it. False if too much waits already, after `close`, or without any thread to be had."""
        if self.closed:
            return False
        free = self._most - len(self._runners) + len(self.idle) + self.calling
        if len(self.waiting) - free >= self._most_waiting:
            return False
        self.waiting.append(work)
        if not self.calling:
            self.call_one()
            if not self._runners:
                self.waiting.clear()
                return False
        return True

    def call_one(self) -> None:
        """Wake the thread that became idle last, or start one if there may be more. If all are busy, nothing: each
        looks for work before it becomes idle."""
        while True:
            self.calling = True
            if len(self._runners) - len(self.idle) >= CROWD:
                self._called_at = process_time()
            try:
                runner = self.idle.pop()
            except IndexError:
                if self._start_one():
                    return
                self.calling = False
                if self.idle and self.waiting:
                    continue  # one has become idle just now, and has left the work to whom we were about to call
                return
            runner.call()
            return

    def crowded(self, since: float | None) -> bool:
        """Whether it is better not to work, for a thread that lay down then (CPU seconds) or, if None, was called."""
        if self.closed or len(self._runners) - len(self.idle) <= CROWD:
            return False
        return process_time() - (self._called_at if since is None else since) >= CROWD * SWITCH_SECONDS

    def _start_one(self) -> bool:
        with self._starting:
            if self.closed or len(self._runners) >= self._most:
                return False
            runner = Runner(self, len(self._runners))
            self._runners.append(runner)
            try:
                runner.start()
            except RuntimeError as error:  # the limit on processes, or memory
                self._runners.remove(runner)
                self._say_failed(error)
                return False
            return True

    def _say_failed(self, error: RuntimeError) -> None:
        now = self._loop.time()
        if now >= self._failed_at + QUIET_SECONDS:
            self._failed_at = now
            _log.error("no more than %d threads: %s", len(self._runners), error)

    def ended(self) -> None:
        """A thread is about to end."""
        with suppress(RuntimeError):  # nobody has waited for us: the loop is closed
            self._loop.call_soon_threadsafe(self._count_ended)

    def _count_ended(self) -> None:
        self._living -= 1
        if self._living == 0:
            self._all_ended.set()

    async def close(self) -> None:
        """Let the threads end once nothing waits, and wait for them."""
        with self._starting:
            self.closed = True
            self._living = len(self._runners)
        while True:
            try:
                self.idle.pop().call()
            except IndexError:
                break
        if self._living:
            await self._all_ended.wait()
