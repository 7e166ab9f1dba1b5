"""Measure one pool of one process: python offload_callers.py POOL WAY SCENARIO SECONDS. Prints JSON lines.

WAY is "asyncio" (awaited under uvloop, as in a web app) or "direct" (a plain script that blocks for each result).
"""

import asyncio
import json
import multiprocessing
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

import uvloop
from offload_scenarios import SCENARIOS, Line, Pool

Submit = Callable[..., "Future[Any]"]
Crash = tuple[type[Exception], ...]


@contextmanager
def standard_library() -> Iterator[tuple[Submit, Crash]]:
    """ProcessPoolExecutor. Not its default on this Python, fork: that is unsafe in a program with threads."""
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as executor:
        yield executor.submit, (BrokenProcessPool,)


@contextmanager
def loky() -> Iterator[tuple[Submit, Crash]]:
    """loky's reusable executor, which is how its documentation starts."""
    from loky import get_reusable_executor
    from loky.process_executor import BrokenProcessPool as BrokenLoky

    with get_reusable_executor(max_workers=1) as executor:
        yield executor.submit, (BrokenLoky,)


@contextmanager
def pebble() -> Iterator[tuple[Submit, Crash]]:
    """pebble's ProcessPool."""
    from pebble import ProcessExpired, ProcessPool

    with ProcessPool(max_workers=1, context=multiprocessing.get_context("forkserver")) as pool:
        yield lambda job, *arguments: pool.schedule(job, args=arguments), (ProcessExpired, BrokenProcessPool)


POOLS = {"ppe": standard_library, "loky": loky, "pebble": pebble}


def called(submit: Submit, crash: Crash, way: str) -> Pool:
    """A pool of futures, awaited or waited for."""

    async def awaited(job: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.wrap_future(submit(job, *arguments))  # loop.run_in_executor() does just this

    async def waited_for(job: Callable[..., Any], *arguments: Any) -> Any:
        return submit(job, *arguments).result()

    return Pool(awaited, crash) if way == "asyncio" else Pool(waited_for, crash, submit)


def own() -> Pool:
    """prefork's, which has one way only."""
    from prefork import offload
    from prefork.errors import Crashed

    return Pool(offload, (Crashed,))


def main(name: str, way: str, scenario: str, seconds: str) -> None:
    """Run one scenario, and print what it found before the pool is closed: a broken one may hang there."""
    run = SCENARIOS[scenario]
    if name == "prefork":
        report(uvloop.run(run(own(), float(seconds))))
        return
    with POOLS[name]() as (submit, crash):
        start = uvloop.run if way == "asyncio" else asyncio.run
        report(start(run(called(submit, crash, way), float(seconds))))


def report(lines: list[Line]) -> None:
    """Write the result."""
    sys.stdout.write("".join(json.dumps(line) + "\n" for line in lines))
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
