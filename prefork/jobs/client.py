"""What app code calls: `await offload(function, ...)`, its variants, and which pool they go to."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

from prefork.errors import OffloadError, QueueFull
from prefork.jobs import context, references, runner
from prefork.jobs.job import Job
from prefork.jobs.options import Offload, Terms
from prefork.jobs.pool import Pool

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_pools: dict[asyncio.AbstractEventLoop, Pool] = {}
_forbidden = ""


def install(pool: Pool) -> None:
    """Let jobs from the running event loop go to this pool."""
    _pools[pool.loop] = pool


def uninstall(pool: Pool) -> None:
    """It is closed."""
    _pools.pop(pool.loop, None)


def installed() -> Pool | None:
    """The running loop's pool, if it has one."""
    return _pools.get(asyncio.get_running_loop())


def forbid(reason: str) -> None:
    """Refuse all jobs in this process, for a reason."""
    global _forbidden
    _forbidden = reason


def find_pool(function: Callable[..., Any]) -> Pool:
    """The running loop's pool. Outside of a prefork server it is made for the first `function`, with a nursery.

    Raises OffloadError in an offloader, RuntimeError without a running loop, UsageError for settings that are wrong.
    """
    if _forbidden:
        raise OffloadError(_forbidden)
    loop = asyncio.get_running_loop()
    pool = _pools.get(loop)
    if pool is None:
        from prefork.jobs.standalone import make_pool

        pool = make_pool(function, uninstall)
        install(pool)
    return pool


class Offloading:
    """`offload`: run functions in other processes, under one set of options."""

    def __init__(self, options: Offload | None = None) -> None:
        self._options = options or Offload()
        self._terms: tuple[Pool, Terms] | None = None  # as the last pool's settings complete them

    def __repr__(self) -> str:
        return f"offload.using({self._options!r})"

    async def __call__(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """The result of `function(*args, **kwargs)`, run in an offloader.

        Raises what it raises, with the traceback over there as the cause; or QueueFull, Timeout, Crashed, Cancelled,
        Unsendable (all OffloadError). When the caller is cancelled, the job is ended.
        """
        result: R = await self.submit(function, args, kwargs)
        return result

    def start(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Job:
        """Submit, and do not wait: the Job can be awaited, watched and cancelled. Raises QueueFull, Unsendable."""
        return self.submit(function, args, kwargs)

    async def stream(
        self, function: Callable[..., Iterable[T]], /, *args: Any, **kwargs: Any
    ) -> AsyncGenerator[T, None]:
        """The items of a generator (or of any iterable that `function` returns), as they come.

        It is paused when its items come faster than they are taken, and ended when the caller leaves early. Its
        deadline is that of the whole stream.
        """
        job = self.submit(runner.stream_call, (function, *args), kwargs, stream=True)
        try:
            while True:
                more, item = await job.receive()
                if not more:
                    return
                yield item
        finally:
            job.abandon()

    async def map(
        self, function: Callable[[Any], R], items: Iterable[Any] | AsyncIterable[Any], /, *, ahead: int | None = None
    ) -> AsyncGenerator[R, None]:
        """`function(item)` for each item, in their order. At most `ahead` jobs at a time: by default twice as many as
        there are processes. Items are taken as they are needed. The first error ends it, and what still runs."""
        pool = find_pool(function)
        most = 2 * pool.backend.processes if ahead is None else ahead
        if most < 1:
            raise ValueError(f"offload.map(ahead={ahead}): at least one job at a time")
        jobs: list[Job] = []
        source = _aiter(items)
        try:
            async for item in source:
                if len(jobs) >= most:
                    yield await jobs.pop(0)
                while True:
                    try:
                        jobs.append(self.submit(function, (item,), {}))
                        break
                    except QueueFull:
                        if not jobs:
                            raise
                    yield await jobs.pop(0)  # others fill the queue: there will be room
            while jobs:
                yield await jobs.pop(0)
        finally:
            for job in jobs:
                job.abandon()

    def using(self, options: Offload | None = None, /, **changes: Any) -> "Offloading":
        """The same, with other options: those of `Offload`. Raises ValueError, TypeError."""
        base = options or self._options
        known = {name: getattr(base, name) for name in base.__slots__}
        return Offloading(Offload(**{**known, **changes}))

    def progress(self, fraction: float, note: str = "") -> None:
        """Within a job: tell who watches it (`Job.progress`) how far it is. Elsewhere it does nothing."""
        if runner.current is not None:
            runner.current.progress(fraction, note)

    def carry(self, *variables: ContextVar[Any]) -> None:
        """See `prefork.jobs.context.carry`."""
        context.carry(*variables)

    def submit(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], stream: bool = False
    ) -> Job:
        """Submit a call; a `stream` may send items before its result. Raises what `start` raises."""
        pool = find_pool(references.subject(function, args))
        known = self._terms
        if known is None or known[0] is not pool:
            known = self._terms = (pool, self._options.terms(pool.settings))
        return pool.submit(function, args, kwargs, known[1], stream)


offload = Offloading()


async def _aiter(items: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
