"""Measure in rounds, in which all that are compared take turns, and compare them within each."""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

from benchmarks.generator import LoadError
from benchmarks.peers import PeerError
from benchmarks.printed import ProgramError
from benchmarks.probe import ProbeError
from benchmarks.process import StartError

ROUNDS = 5  # fewer are for trying the harness out
FAILURES = (PeerError, ProgramError, StartError, ProbeError, LoadError, OSError)

One = TypeVar("One")


@dataclass(frozen=True)
class Sample:
    """One figure of one round."""

    name: str
    round: int
    value: float


def turns(
    what: str, only: Sequence[str], rounds: int, one: Callable[[str, int], One], show: Callable[[One], str] = str
) -> tuple[list[One], list[str]]:
    """`one` of each name in each round, and a paragraph on those that failed. `show`: for the log."""
    found: list[One] = []
    failed = []
    for number in range(1, rounds + 1):
        for name in only:
            try:
                found.append(one(name, number))
                outcome = show(found[-1])
            except FAILURES as error:
                failed.append(f"- {name}, round {number}: {error}")
                outcome = f"invalid: {error}"
            print(f"{what} {number}/{rounds} {name}: {outcome}", file=sys.stderr)
    return found, ["Invalid, and not in the figures:\n\n" + "\n".join(failed)] if failed else []


def paired(
    samples: Iterable[Sample],
    base: str,
    others: Sequence[str],
    best: Callable[[Iterable[float]], float],
    compare: Callable[[float, float], float],
) -> float | None:
    """`compare(base, best of the others)`: the median over the rounds that have both. None without such a round.

    Within a round, because absolute figures drift from round to round; the best, so that a peer that can be called in
    two ways is judged by the one that suits it.
    """
    rounds: dict[int, dict[str, float]] = {}
    for sample in samples:
        rounds.setdefault(sample.round, {})[sample.name] = sample.value
    compared = [
        compare(values[base], best(values[name] for name in others if name in values))
        for values in rounds.values()
        if base in values and any(name in values for name in others)
    ]
    return median(compared) if compared else None
