"""An event loop without a kernel: callbacks run until none is left, and the clock moves when it is told to."""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar, cast

T = TypeVar("T")


class FakeLoop:
    """Runs real tasks and futures, in the order a real loop would. What it lacks, a connection must not ask for."""

    def __init__(self) -> None:
        self.now = 1000.0  # seconds
        self.writers: dict[int, Callable[[], object]] = {}  # by descriptor: what waits to write
        self.faults: list[dict[str, Any]] = []  # what a real loop would log: exceptions nobody caught
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[asyncio.TimerHandle] = []
        self.as_loop = cast(asyncio.AbstractEventLoop, self)

    def run(self) -> None:
        """Run what is ready, and what that makes ready, until nothing is."""
        asyncio._set_running_loop(self.as_loop)
        try:
            while self._ready:
                handle = self._ready.popleft()
                if not handle.cancelled():
                    handle._run()
        finally:
            asyncio._set_running_loop(None)

    def advance(self, seconds: float) -> None:
        """Let time pass; timers fire at their own time."""
        until = self.now + seconds
        while self._timers and self._timers[0].when() <= until:
            timer = heapq.heappop(self._timers)
            self.now = max(self.now, timer.when())
            self._ready.append(timer)
            self.run()
        self.now = until

    # -- what connections, tasks and futures ask of a loop

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self.as_loop, context)
        self._ready.append(handle)
        return handle

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self.as_loop, context)
        heapq.heappush(self._timers, timer)
        return timer

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.now + delay, callback, *args, context=context)

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self.as_loop)

    def create_task(
        self,
        coro: Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        return asyncio.Task(coro, loop=self.as_loop, name=name, context=context)

    def add_writer(self, fd: int, callback: Callable[..., object], *args: Any) -> None:
        self.writers[fd] = lambda: callback(*args)

    def remove_writer(self, fd: int) -> bool:
        return self.writers.pop(fd, None) is not None

    def get_debug(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.faults.append(context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass
