"""The bars that prefork's children are to reach."""

from collections.abc import Callable, Sequence
from operator import truediv
from statistics import median

from benchmarks.children_figures import AT_ONCE
from benchmarks.rounds import Sample, paired
from benchmarks.verdicts import Verdict, at_least, at_most

FORK_MS = 15.0
PIPES = {"pipe": "two calls of the executor", "pipe-ask": "one call"}


def execute(samples: Sequence[Sample]) -> list[Verdict]:
    """Samples in ms. Under uvloop, from a program of a realistic size."""
    return [
        at_most(
            f"exec_file ÷ asyncio.create_subprocess_exec, {count} at a time",
            1.3,
            paired(samples, f"heavy uvloop prefork {count}", [f"heavy uvloop asyncio {count}"], min, truediv),
            ".2f",
        )
        for count in (1, AT_ONCE)
    ]


def stream(samples: Sequence[Sample]) -> list[Verdict]:
    """Samples in GB/s."""
    return [
        at_least(
            f"spawn's speed ÷ that of asyncio's streams, {loop}",
            0.8,
            paired(samples, f"{loop} prefork", [f"{loop} asyncio"], max, truediv),
            ".2f",
        )
        for loop in ("uvloop", "asyncio")
    ]


def fork(samples: Sequence[Sample]) -> list[Verdict]:
    """Samples in ms."""
    own = [sample.value for sample in samples if sample.name == "fork"]
    return [at_most("fork to first message, ms", FORK_MS, median(own) if own else None, ".1f")]


def message(samples: Sequence[Sample]) -> list[Verdict]:
    """Samples in µs. A Pipe can be driven in two ways; each is judged."""
    return [
        at_most(f"{name} ÷ multiprocessing.Pipe, {way}", 0.5, paired(samples, name, [pipe], min, truediv), ".2f")
        for name in ("fork", "actor")
        for pipe, way in PIPES.items()
    ]


def array(samples: Sequence[Sample]) -> list[Verdict]:
    """Samples in ms. The Pipe by its better way in each round."""
    compared = paired(samples, "actor", list(PIPES), min, truediv)
    return [at_most("100 MB to an actor ÷ multiprocessing.Pipe", 0.15, compared, ".2f")]


BARS: dict[str, Callable[[Sequence[Sample]], list[Verdict]]] = {
    "exec": execute,
    "stream": stream,
    "fork": fork,
    "message": message,
    "array": array,
}
