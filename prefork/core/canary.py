"""Decide about a canary: how many workers a new generation gets beside the old one, and whether it is as good.

No clock and no shared memory here: callers pass what both generations have answered in the same time.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from math import exp, lgamma, log, log1p
from typing import Final

from prefork.core import plan as planning
from prefork.core.histogram import quantile
from prefork.core.roster import Roster

ENOUGH: Final = 50  # requests of each generation; of fewer, a tenth is too few to tell chance from fault
ERRORS_TOLERATED: Final = 0.001  # of all requests, more than in the old generation
UNLIKELY: Final = 0.01  # that chance alone gives the new generation so many of the errors: then it is no chance
PLAINLY_UNLIKELY: Final = 0.0001  # the same, when it is asked every second: many questions find many chances
JUDGED: Final = 0.9  # the percentile that is compared: a few pauses of the machine do not reach it
LATENCY_FACTOR: Final = 1.25  # of the old generation's, which is tolerated
LATENCY_SECONDS: Final = 0.005  # and so much more: a quarter of nearly nothing is noise

Key = tuple[str, str, str]  # method, status class, route, as metrics have them


@dataclass
class Tally:
    """What one generation has answered: for each key the requests by time, one count for each bucket and one for what
    took longer, then the sum of seconds."""

    series: dict[Key, list[float]] = field(default_factory=dict)
    lost: int = 0  # requests that died with a worker
    ages: list[float] = field(default_factory=list)  # seconds, of those that began in this time and go on

    def add(self, key: Key, numbers: Sequence[float]) -> None:
        before = self.series.get(key)
        summed = list(numbers) if before is None else [a + b for a, b in zip(before, numbers, strict=True)]
        self.series[key] = summed

    @property
    def requests(self) -> int:
        return int(sum(sum(numbers[:-1]) for numbers in self.series.values())) + self.lost

    @property
    def errors(self) -> int:
        """Answered with 5xx, or lost."""
        return int(sum(sum(n[:-1]) for (_, status, _), n in self.series.items() if status == "5xx")) + self.lost


@dataclass(frozen=True, slots=True)
class Side:
    """One generation in numbers. Times are seconds."""

    requests: int
    errors: int
    mean: float
    p50: float
    p90: float

    @property
    def error_share(self) -> float:
        return self.errors / self.requests if self.requests else 0.0

    def __str__(self) -> str:
        return f"{self.errors:,} of {self.requests:,} requests failed, p90 {self.p90 * 1000:.1f} ms"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a generation is promoted, why, and on what evidence. The old one's times are those of the requests that
    the new one had."""

    promoted: bool
    reason: str
    old: Side
    new: Side


def plan(roster: Roster, now: float) -> list[planning.Step]:
    """As `core.plan.plan`. A generation on trial is planned by itself, beside the one that we want: its workers replace
    nobody, and what is done to either part is what is always done."""
    if roster.canary is None:
        return planning.plan(roster, now)
    trial = roster.canary.generation
    parts = (
        Roster(roster.wanted, roster.generation, [h for h in roster if h.generation != trial], roster.backoffs),
        Roster(
            roster.canary.workers(roster.wanted), trial, [h for h in roster if h.generation == trial], roster.backoffs
        ),
    )
    return [step for part in parts for step in planning.plan(part, now)]


def judge(old: Tally, new: Tally, bounds: Sequence[float]) -> Verdict:
    """Whether `new` is no worse than `old`. `bounds` are the upper ends of the buckets."""
    old_side, new_side = measure(old, old_as(old, new), bounds), measure(new, new, bounds)
    reason = _too_few(old_side, new_side) or _more_errors(old_side, new_side, UNLIKELY) or _slower(old_side, new_side)
    return Verdict(not reason, reason or "no worse", old_side, new_side)


def plainly_worse(old: Tally, new: Tally, bounds: Sequence[float]) -> Verdict | None:
    """The verdict before its time, when there is no need to wait: only errors are looked at."""
    old_side, new_side = measure(old, old_as(old, new), bounds), measure(new, new, bounds)
    reason = _more_errors(old_side, new_side, PLAINLY_UNLIKELY)
    return Verdict(False, f"plainly {reason}", old_side, new_side) if reason else None


def measure(tally: Tally, timed: Tally, bounds: Sequence[float]) -> Side:
    """The numbers of `tally`, with the times of `timed`: itself, or what `old_as` makes of it."""
    counts = [0.0] * (len(bounds) + 1)
    seconds = sum(numbers[-1] for numbers in timed.series.values())
    for numbers in timed.series.values():
        for index, count in enumerate(numbers[:-1]):
            counts[index] += count
    answered = sum(counts)
    for index, count in _going_on(tally.ages, bounds, answered, tally.requests - tally.lost):
        counts[index] += count
    mean = seconds / answered if answered else 0.0
    p50, p90 = percentile(counts, bounds, 0.5), percentile(counts, bounds, JUDGED)
    return Side(tally.requests, tally.errors, mean, p50, p90)


def old_as(old: Tally, new: Tally) -> Tally:
    """The old generation's times as they would be with the new one's mix of requests. Clients that keep connections
    may ask the one for quick pages only, and the other for slow ones. Routes that the new one was not asked for do not
    count; without any in common, all do."""
    wanted: dict[tuple[str, str], float] = {}
    for (method, _, route), numbers in new.series.items():
        wanted[method, route] = wanted.get((method, route), 0.0) + sum(numbers[:-1])
    had: dict[tuple[str, str], float] = {}
    for (method, _, route), numbers in old.series.items():
        had[method, route] = had.get((method, route), 0.0) + sum(numbers[:-1])
    weighed = Tally()
    for key, numbers in old.series.items():
        here = key[0], key[2]
        if wanted.get(here) and had[here]:
            weighed.add(key, [number * wanted[here] / had[here] for number in numbers])
    return weighed if weighed.series else old


def percentile(counts: Sequence[float], bounds: Sequence[float], share: float) -> float:
    """The time that `share` of them do not exceed; 0 without any. Past the last bound: that one."""
    return quantile(bounds, counts, share) or 0.0


def chance(errors: int, of_all: int, share: float) -> float:
    """How likely it is that at least `errors` of all that happened fall to who had that share of the requests, if all
    are equally likely to have them (the binomial distribution's tail)."""
    if not 0 < share < 1 or errors <= of_all * share:
        return 1.0  # no more than its part; all that matters is what is improbable
    logarithm = lgamma(of_all + 1) - lgamma(errors + 1) - lgamma(of_all - errors + 1)
    term = exp(logarithm + errors * log(share) + (of_all - errors) * log1p(-share))
    total = term
    for count in range(errors, of_all):  # terms only get smaller from here on
        term *= (of_all - count) / (count + 1) * share / (1 - share)
        total += term
        if term < total * 1e-9:
            break
    return min(1.0, total)


def _too_few(old: Side, new: Side) -> str:
    if min(old.requests, new.requests) >= ENOUGH:
        return ""
    who, had = ("new", new) if new.requests < ENOUGH else ("old", old)
    return f"too few requests to judge: the {who} generation had {had.requests}, and {ENOUGH} are needed"


def _more_errors(old: Side, new: Side, unlikely: float) -> str:
    share = new.requests / (new.requests + old.requests) if new.requests else 0.0
    if new.error_share <= old.error_share + ERRORS_TOLERATED:
        return ""
    return "more errors" if chance(new.errors, new.errors + old.errors, share) < unlikely else ""


def _slower(old: Side, new: Side) -> str:
    return "slower" if new.p90 > old.p90 * LATENCY_FACTOR + LATENCY_SECONDS else ""


def _going_on(
    ages: Collection[float], bounds: Sequence[float], weight: float, answered: int
) -> Iterable[tuple[int, float]]:
    """The buckets of requests that have no answer yet: they take at least as long as they have taken. Each weighs what
    an answered one does, after times were weighed: `weight` for all `answered`."""
    each = weight / answered if answered and weight else 1.0
    return [(bisect_left(bounds, age), each) for age in ages]
