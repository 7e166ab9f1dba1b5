"""What is measured of every Python pool, whatever stands behind `call`.

`call(job, *arguments)` is awaited for the result. A pool that is called directly blocks in it: the await then costs
0.1 µs. Each scenario returns lines to be written as JSON.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy
from offload_jobs import add, changed_copy, crashes, empty, square_or_crash

TRIPS = 3_000
TRIPS_WARM_UP = 300
ARRAYS = 100
ARRAYS_WARM_UP = 5
ARRAY_BYTES = 10_000_000
IN_FLIGHT = 64
WARM_UP_SECONDS = 0.5
CRASH_JOBS = 1_000

Line = dict[str, Any]


@dataclass(frozen=True)
class Pool:
    """How a pool is called. `submit` is for one that is called directly and can have many jobs in flight."""

    call: Callable[..., Awaitable[Any]]
    crash: tuple[type[Exception], ...]  # what it raises where a process died
    submit: Callable[..., "Future[Any]"] | None = None


class WrongAnswer(Exception):
    """A pool gave another result than the job's."""


async def round_trip(pool: Pool, seconds: float) -> list[Line]:
    """Median seconds of an empty job, one at a time."""
    return await timed(pool, empty, (), lambda result: result is None, TRIPS, TRIPS_WARM_UP, seconds)


async def array(pool: Pool, seconds: float) -> list[Line]:
    """Median seconds of a job that takes 10 MB of float64 and returns as much."""
    sent = numpy.arange(ARRAY_BYTES // 8, dtype=numpy.float64)

    def right(result: Any) -> bool:
        return len(result) == len(sent) and result[0] == 1.0 and result[-1] == sent[-1]

    return await timed(pool, changed_copy, (sent,), right, ARRAYS, ARRAYS_WARM_UP, seconds)


async def timed(
    pool: Pool,
    job: Callable[..., Any],
    arguments: tuple[Any, ...],
    right: Callable[[Any], bool],
    most: int,
    warm_up: int,
    seconds: float,
) -> list[Line]:
    """Median duration of a call, over at most `most` calls in about `seconds`. Every result is checked."""
    times: list[int] = []
    for _ in range(warm_up):
        await pool.call(job, *arguments)
    end = time.perf_counter() + seconds
    while len(times) < most and (not times or time.perf_counter() < end):
        start = time.perf_counter_ns()
        result = await pool.call(job, *arguments)
        times.append(time.perf_counter_ns() - start)
        if not right(result):
            raise WrongAnswer(f"{job.__name__} gave {result!r}")
    return [{"value": median(times) / 1e9, "count": len(times)}]


async def throughput(pool: Pool, seconds: float) -> list[Line]:
    """Small jobs a second with IN_FLIGHT of them under way."""
    load = clients if pool.submit is None else window
    await load(pool, WARM_UP_SECONDS)
    start = time.perf_counter()
    count = await load(pool, seconds)
    return [{"value": count / (time.perf_counter() - start), "count": count}]


async def clients(pool: Pool, seconds: float) -> int:
    """IN_FLIGHT tasks with one job each at a time, as requests of a server are. Returns how many were answered."""
    end = time.perf_counter() + seconds

    async def client(number: int) -> int:
        answered = 0
        while time.perf_counter() < end:
            if await pool.call(add, number, answered) != number + answered:
                raise WrongAnswer("add")
            answered += 1
        return answered

    return sum(await asyncio.gather(*(client(number) for number in range(IN_FLIGHT))))


async def window(pool: Pool, seconds: float) -> int:
    """The same without tasks: the oldest future is waited for, and a new one submitted. One process keeps order."""
    assert pool.submit
    end = time.perf_counter() + seconds
    pending = deque((number, pool.submit(add, number, number)) for number in range(IN_FLIGHT))
    answered = 0
    while pending:
        number, future = pending.popleft()
        if future.result() != 2 * number:
            raise WrongAnswer("add")
        answered += 1
        if time.perf_counter() < end:
            pending.append((answered, pool.submit(add, answered, answered)))
    return answered


async def crash(pool: Pool, seconds: float) -> list[Line]:
    """A line for each of CRASH_JOBS that was answered within `seconds`, all submitted at once."""
    lines: list[Line] = []

    async def one(number: int) -> None:
        try:
            result = await pool.call(square_or_crash, number)
            outcome = "right" if result == number * number else "other"
        except pool.crash:
            outcome = "crash"
        except Exception:  # any other type is counted, whatever it is
            outcome = "other"
        lines.append({"crashing": crashes(number), "outcome": outcome})

    tasks = [asyncio.create_task(one(number)) for number in range(CRASH_JOBS)]
    await asyncio.wait(tasks, timeout=seconds)
    return list(lines)


SCENARIOS = {"round-trip": round_trip, "throughput": throughput, "array": array, "crash": crash}
