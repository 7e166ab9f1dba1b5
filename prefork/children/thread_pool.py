"""The threads of an event loop that run blocking code: bounded in number, and so is the time that a call waits."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar, copy_context
from functools import partial
from math import ceil
from threading import Lock
from typing import Any, Final, Generic, TypeVar

from prefork.children.busy import pools
from prefork.children.places import Places
from prefork.errors import ChildError, ChildrenBusy
from prefork.jobs.references import name_of

MOMENT: Final = 0.05  # seconds that a call waits at least: a thread that is free may not have looked yet

_log = logging.getLogger("prefork.children")

R = TypeVar("R")


class Threads:
    """What runs blocking code. `executor` is for those who want a plain one; calls of ours share its threads.

    At most as many calls as there are threads are with the executor at a time, the others wait in order. A call that is
    given up keeps its place until a thread has let go of it: so what hangs can make others wait, but never pile up.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, most: int, wait_seconds: float, grace_seconds: float, name: str
    ) -> None:
        """`wait_seconds`: how long a call waits for a thread at most. `grace_seconds`: how long `close` waits for calls
        that run. Threads start when they are first needed."""
        self.executor: Final = ThreadPoolExecutor(most, name)
        self._loop = loop
        self._most = most
        self._wait_seconds = wait_seconds
        self._grace_seconds = grace_seconds
        self._places = Places(most, max(wait_seconds, MOMENT))
        self._calls: set[_Call[Any]] = set()  # those with the executor
        self._none_left = asyncio.Event()
        self._closed = False
        pools.add(self)

    @property
    def busy(self) -> float:
        """The share of its threads that are at work, 0 to 1. What uses `executor` by itself is not seen."""
        return min(1.0, len(self._calls) / self._most)

    async def run(self, function: Callable[..., R], args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
        """The result of the function in a thread, where context variables are as they are here. Raises what it raises,
        ChildrenBusy when no thread was free in time, ChildError after `close`."""
        last = self._loop.time() + self._wait_seconds
        try:
            await self._places.take()
        except ChildrenBusy:
            raise self._busy() from None
        call = _Call(name_of(function), partial(copy_context().run, function, *args, **kwargs), self)
        self._start(call)
        timer = self._loop.call_at(max(last, self._loop.time() + MOMENT), self._expire, call)
        try:
            await call.over
        except asyncio.CancelledError:
            if call.take():
                call.drop()
            elif not call.over.cancelled():  # both at once
                call.tell_unheard()
            raise
        finally:
            timer.cancel()
        return call.outcome()

    def _start(self, call: "_Call[R]") -> None:
        try:
            if self._closed:
                raise ChildError("threads take no more calls: their event loop closes, or the server stops")
            self._calls.add(call)
            self.executor.submit(call.run)
        except BaseException as error:
            if isinstance(error, RuntimeError) and not call.take():
                return  # the system has no other thread for us, but one that there was has taken it
            call.drop()
            self._calls.discard(call)
            self._places.free()
            if isinstance(error, RuntimeError):
                raise ChildrenBusy(f"no thread can be started: {error}") from error
            raise

    def _expire(self, call: "_Call[Any]") -> None:
        """It has waited long enough, unless it runs."""
        if call.take():
            call.drop()
            if not call.over.done():
                call.over.set_exception(self._busy())

    def _busy(self) -> ChildrenBusy:
        return ChildrenBusy(
            f"all {self._most} threads are busy, as many as --threads allows, and none became free within "
            f"{self._wait_seconds:g} s",
            max(1, ceil(self._wait_seconds)),
        )

    def let_go(self, call: "_Call[Any]") -> None:
        """Called in the thread that has run it, or has found that nobody wants it any more."""
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._ended, call)

    def _ended(self, call: "_Call[Any]") -> None:
        if call in self._calls:  # else it was dropped, with its place
            self._calls.discard(call)
            self._places.free()
        if not call.over.done():
            call.over.set_result(None)
        else:
            call.tell_unheard()
        if not self._calls:
            self._none_left.set()

    async def close(self) -> None:
        """Begin nothing more. What runs has the grace time; what hangs is named, and ends with its process."""
        self._closed = True
        for call in [call for call in self._calls if call.dropped or call.take()]:
            call.drop()
            self._calls.discard(call)
            self._places.free()
            if not call.over.done():
                call.over.set_exception(ChildError(f"{call.name} had no thread yet when the server stopped"))
        self._places.free()  # a place for those who wait, each of whom is refused and frees it for the next
        self.executor.shutdown(wait=False, cancel_futures=True)
        if self._calls:
            self._none_left.clear()
            try:
                async with asyncio.timeout(self._grace_seconds):
                    await self._none_left.wait()
            except TimeoutError:
                for call in self._calls:
                    _log.warning("%s still runs in a thread, and ends with its process", call.name)


class _Call(Generic[R]):
    """One call. Its claim is taken once: by the thread that runs it, or by who gives it up before."""

    def __init__(self, name: str, work: Callable[[], R], threads: Threads) -> None:
        self.name = name
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.error: BaseException | None = None
        self.dropped = False
        self._result: R | None = None
        self._work: Callable[[], R] | None = work
        self._threads = threads
        self._claim = Lock()

    def take(self) -> bool:
        """Whether nobody has taken it before."""
        return self._claim.acquire(blocking=False)

    def drop(self) -> None:
        """It will not run: hold nothing on its behalf. Whoever has taken it may."""
        self.dropped = True
        self._work = None

    def run(self) -> None:
        """In a thread."""
        if self.take():
            assert self._work is not None
            try:
                self._result = self._work()
            except BaseException as error:
                self.error = error
            self._work = None
        self._threads.let_go(self)

    def tell_unheard(self) -> None:
        """Nobody waits for what came of it: if that is an error, the log has it."""
        if self.error is not None:
            _log.error("%s failed in a thread when nobody waited for it any more", self.name, exc_info=self.error)

    def outcome(self) -> R:
        """What came of it, once it is over; only once."""
        try:
            if self.error is not None:
                raise self.error
            return self._result  # type: ignore[return-value]  # R may be None
        finally:
            self.error = self._result = None  # an error's traceback refers to us


own: Final[ContextVar[Threads | None]] = ContextVar("prefork.threads", default=None)
"""Those of a server that shares its loop with others; None: those of the loop's home."""
