"""Decide how many workers there is work for, between two limits: from how busy they are, and what waits for them.

One worker more starts when the workers were busy for long enough, or when connections wait. One is let go when the
others would be far from busy without it. The two shares lie apart, and after each change everything is measured afresh,
so the effect of one change is seen before the next.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from prefork.settings import Settings

SAMPLES: Final = 400  # that are kept at most
SHORTEST_PERIOD: Final = 0.1  # seconds; workers tell how busy they are every 0.25 s
PERIOD: Final = 0.25


@dataclass(frozen=True, slots=True)
class Load:
    """What was measured at one moment."""

    at: float  # monotonic seconds
    workers: int  # those that serve, and those that are stalled; on trial there may be more than are wanted
    busy: float  # their busy shares added up; a stalled one counts as busy
    waiting: int  # connections that no worker has got yet
    open: int  # connections that workers hold
    most: int  # connections that one worker may hold


@dataclass(frozen=True, slots=True)
class Verdict:
    """How many workers to want. As many as before: there is a reason to change that, and a limit that forbids it."""

    workers: int
    words: str


def period(settings: Settings) -> float:
    """Seconds between two measurements."""
    return min(max(SHORTEST_PERIOD, settings.scale_up_seconds / 6), max(PERIOD, settings.scale_up_seconds / SAMPLES))


class Autoscale:
    """Remembers what was measured since the last change."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._memory = max(settings.scale_up_seconds, 2 * period(settings))  # seconds; two measurements at least
        self._loads: deque[Load] = deque()  # of that time
        self._since = 0.0  # from when on they were measured without a gap
        self._calm_since: float | None = None  # from when on one worker less would have done
        self._told: set[str] = set()  # limits that a verdict has named, since the last change

    def forget(self) -> None:
        """Begin afresh: the number of workers changes, or the limits."""
        self._loads.clear()
        self._calm_since = None
        self._told.clear()

    def look(self, load: Load, wanted: int, low: int, high: int) -> Verdict | None:
        """What follows from a measurement, with so many workers wanted. While some of these are not there, nothing: it
        is not known yet what they will do, or they cannot boot, and others could not either."""
        if load.workers < wanted:
            return None
        self._keep(load)
        if load.at - self._since < self._settings.scale_up_seconds:
            return None
        if why := self._pressed(load):
            self._calm_since = None
            return self._change(wanted, +1, why, high, "more")
        if not (why := self._calm(load)):
            self._calm_since = None
            return None
        if self._calm_since is None:
            self._calm_since = load.at
        if load.at - self._calm_since < self._settings.scale_down_seconds:
            return None
        return self._change(wanted, -1, why, low, "fewer")

    def _keep(self, load: Load) -> None:
        while self._loads and self._loads[0].at < load.at - self._memory:
            self._loads.popleft()
        if not self._loads:
            self._since = load.at
            self._calm_since = None
        self._loads.append(load)

    def _change(self, wanted: int, by: int, why: str, limit: int, words: str) -> Verdict | None:
        if (wanted - limit) * by < 0:
            self.forget()
            return Verdict(wanted + by, why)
        if words in self._told:
            return None
        self._told.add(words)
        return Verdict(wanted, f"{why}, but there may be no {words} than {limit}")

    def _pressed(self, load: Load) -> str:
        """Why one worker more is needed, if it is."""
        settings = self._settings
        seconds = f"{settings.scale_up_seconds:.15g} s"
        share = self._mean(lambda load: load.busy / load.workers)
        if share >= settings.scale_up_share:
            return f"workers were {share:.0%} busy for {seconds} (--scale-up-share {settings.scale_up_share:.15g})"
        if all(load.waiting for load in self._loads):
            return f"connections have waited for {seconds}, now {load.waiting:,}"
        if all(load.open >= load.workers * load.most for load in self._loads):
            return f"workers were full for {seconds}, with {load.open:,} connections (--max-connections {load.most})"
        return ""

    def _calm(self, load: Load) -> str:
        """Why one worker less would do, if it would. Of a single one: why no other is needed."""
        settings = self._settings
        others = max(1, load.workers - 1)
        share = self._mean(lambda load: load.busy) / others
        room = others * load.most * settings.scale_up_share
        if share >= settings.scale_down_share or load.waiting or load.open > room:
            return ""
        whom = "one worker would be" if others == 1 else f"{others} workers would be"
        return (
            f"{whom} {share:.0%} busy, for {settings.scale_down_seconds:.15g} s "
            f"(--scale-down-share {settings.scale_down_share:.15g})"
        )

    def _mean(self, of: Callable[[Load], float]) -> float:
        return sum(map(of, self._loads)) / len(self._loads)
