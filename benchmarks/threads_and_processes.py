"""Compare threads with processes, by what they do: `python benchmarks/threads_and_processes.py`.

The same calls, one after another and in 1, 2 and 4 threads (`children.thread`) and processes (`offload`), which take
turns within a round. Beside that: how late the event loop was meanwhile at worst, and what an empty call costs.
"""

import argparse
import asyncio
import os
import sys
import time
import zlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a script finds its own folder only

import uvloop

from benchmarks.options import positive
from benchmarks.report import machine, publish
from prefork import children, offload

ROUNDS = 5
CALLS = 16
WIDTHS = (1, 2, 4)
TICK_SECONDS = 0.001  # between two looks of the event loop at the clock

DATA = bytes(range(256)) * 4096  # 1 MiB


def compute() -> int:
    """Python code, some 20 ms of it: the lock of the interpreter is held all the time."""
    return sum(all(number % divisor for divisor in range(2, int(number**0.5) + 1)) for number in range(2, 21_000))


def compress() -> int:
    """C code that lets go of the lock while it computes, some 20 ms."""
    return len(zlib.compress(DATA * 9, 6))


def block() -> None:
    """What waits for something else, 20 ms."""
    time.sleep(0.02)


KINDS = {
    "Python code": compute,
    "C code that lets go of the lock (zlib)": compress,
    "waiting (a driver, a file)": block,
}


@dataclass(frozen=True)
class Way:
    """How the calls are run."""

    title: str
    width: int
    call: Callable[[Any], Awaitable[object]] | None = None  # None: one after another, on the spot
    setting: str = ""  # that bounds how many run


ONE_BY_ONE = Way("one after another", 1)
WAYS = [
    ONE_BY_ONE,
    *(Way(f"{n} thread{'s'[: n - 1]}", n, children.thread, "PREFORK_THREADS") for n in WIDTHS),
    *(Way(f"{n} process{'es'[: 2 * n - 2]}", n, offload, "PREFORK_OFFLOAD_MAX") for n in WIDTHS),
]


@dataclass(frozen=True)
class Sample:
    """One measurement, in seconds: of all calls, and of the event loop's longest delay meanwhile."""

    kind: str
    way: Way
    taken: float
    late: float


async def watch_loop(late: list[float]) -> None:
    """Note how much later than asked for the event loop comes back, until cancelled."""
    while True:
        asked = time.perf_counter() + TICK_SECONDS
        await asyncio.sleep(TICK_SECONDS)
        late.append(time.perf_counter() - asked)


async def run_calls(way: Way, function: Callable[[], object]) -> tuple[float, float]:
    """All calls at once, when as many threads or processes run as may. Returns the time they took, and the delay."""
    assert way.call is not None
    await asyncio.gather(*(way.call(block) for _ in range(2 * way.width)))
    late = [0.0]
    watching = asyncio.create_task(watch_loop(late))
    await asyncio.sleep(10 * TICK_SECONDS)
    began = time.perf_counter()
    await asyncio.gather(*(way.call(function) for _ in range(CALLS)))
    taken = time.perf_counter() - began
    await asyncio.sleep(2 * TICK_SECONDS)  # so that what has just been late is noted
    watching.cancel()
    return taken, max(late)


def measure(kind: str, way: Way) -> Sample:
    """One kind of work in one way, in an event loop of its own, with threads or processes of its own."""
    function = KINDS[kind]
    if way.call is None:
        began = time.perf_counter()
        for _ in range(CALLS):
            function()
        taken = time.perf_counter() - began
        return Sample(kind, way, taken, taken)
    os.environ[way.setting] = str(way.width)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        taken, late = runner.run(run_calls(way, function))
    return Sample(kind, way, taken, late)


EMPTY_CALLS = 2000
EMPTY_WAYS: dict[str, Callable[[Any], Awaitable[object]]] = {
    "asyncio.to_thread": asyncio.to_thread,
    "children.thread": children.thread,
    "offload": offload,
}


def nothing() -> None:
    """What costs nothing but the way there and back."""


async def call_empty(call: Callable[[Any], Awaitable[object]]) -> float:
    """Seconds a call of nothing, one after another, when a thread or process is there."""
    await asyncio.gather(*(call(nothing) for _ in range(4)))
    began = time.perf_counter()
    for _ in range(EMPTY_CALLS):
        await call(nothing)
    return (time.perf_counter() - began) / EMPTY_CALLS


def empty_table(rounds: int) -> str:
    """Medians of what a call costs by itself."""
    taken: dict[str, list[float]] = {title: [] for title in EMPTY_WAYS}
    for _ in range(rounds):
        for title, call in EMPTY_WAYS.items():
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                taken[title].append(runner.run(call_empty(call)))
    cells = [f"{median(seconds) * 1e6:.0f}" for seconds in taken.values()]
    return f"| an empty call | {' | '.join(taken)} |\n{'| --- ' * (len(taken) + 1)}|\n| µs | {' | '.join(cells)} |"


def table(samples: Sequence[Sample]) -> str:
    """Medians: a row for each way, and for each kind of work the time and how many times as fast that is."""
    computing = next(iter(KINDS))
    heads = [f"{CALLS} calls of 20 ms: time, ms (times as fast)", *KINDS, f"event loop late by, ms ({computing})"]
    lines = [f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
    for way in WAYS:
        cells = []
        for kind in KINDS:
            taken = median(sample.taken for sample in samples if (sample.kind, sample.way) == (kind, way))
            base = median(sample.taken for sample in samples if (sample.kind, sample.way) == (kind, ONE_BY_ONE))
            cells.append(f"{taken * 1e3:.0f} ({base / taken:.1f})")
        late = median(sample.late for sample in samples if (sample.kind, sample.way) == (computing, way))
        lines.append(f"| {way.title} | {' | '.join(cells)} | {late * 1e3:.1f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare threads with processes, by what they do.")
    parser.add_argument("--rounds", type=positive, default=ROUNDS, help=f"default {ROUNDS}")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="append the report to a file")
    chosen = parser.parse_args()
    samples = [measure(kind, way) for _ in range(chosen.rounds) for kind in KINDS for way in WAYS]
    publish(
        [
            "## Threads and processes",
            machine() + f"; medians of {chosen.rounds} rounds",
            table(samples),
            empty_table(chosen.rounds),
        ],
        chosen.markdown,
    )


if __name__ == "__main__":
    main()
