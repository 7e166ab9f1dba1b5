"""Measure several ways to do one thing, in turns, in one process."""

import time
from collections.abc import Awaitable, Callable, Mapping
from statistics import median
from typing import Any

Line = dict[str, Any]
# Does the thing once and checks what came of it. It may return the nanoseconds that count, where not all of it does.
Call = Callable[[], Awaitable[int | None]]


class WrongAnswer(Exception):
    """Something gave another result than it should."""


def check(found: object, wanted: object) -> None:
    """WrongAnswer unless they are equal."""
    if found != wanted:
        raise WrongAnswer(f"{found!r:.200} instead of {wanted!r:.200}")


async def in_turns(ways: Mapping[str, Call], seconds: float, block: int = 1, per: int = 1) -> list[Line]:
    """A line for each way: the median seconds of a call. A call does `per` things, which share its time.

    Each way has `block` calls, then the next one, until `seconds` for each of them are over, and at least one block
    after one that is not counted.
    """
    times: dict[str, list[int]] = {name: [] for name in ways}
    await turn(ways, block, {name: [] for name in ways})
    end = time.perf_counter() + seconds * len(ways)
    while not any(times.values()) or time.perf_counter() < end:
        await turn(ways, block, times)
    return [{"name": name, "value": median(took) / per / 1e9, "count": len(took)} for name, took in times.items()]


async def turn(ways: Mapping[str, Call], block: int, times: Mapping[str, list[int]]) -> None:
    """One block of each way."""
    for name, call in ways.items():
        for _ in range(block):
            start = time.perf_counter_ns()
            counted = await call()
            times[name].append(time.perf_counter_ns() - start if counted is None else counted)
