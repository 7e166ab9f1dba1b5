"""Want as many workers as there is work for (--workers MIN:MAX), or as many as an operator says."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Final

from prefork.control.happened import happened
from prefork.core import autoscale
from prefork.core.autoscale import Autoscale, Load
from prefork.core.lifecycle import State
from prefork.core.roster import Roster, WorkerHandle
from prefork.errors import CommandError
from prefork.messages import Share
from prefork.processes.handout import HandOut
from prefork.processes.link import WorkerLink
from prefork.settings import Settings, WorkerRange, parse_workers
from prefork.system.channel import ChannelClosed

LATE_SECONDS: Final = 1.0  # a heartbeat that is so late tells of a loop that is at work; they come every 0.25 s

_log = logging.getLogger("prefork.supervisor")


class Autoscaling:
    """Sets `Roster.wanted`; what follows from it is decided in `core.plan`."""

    def __init__(
        self,
        settings: Settings,
        limits: WorkerRange,
        roster: Roster,
        links: Mapping[int, WorkerLink],
        handout: HandOut,
        max_connections: int,
    ) -> None:
        """`links` by serial, kept by the caller."""
        self.limits = limits
        self._roster = roster
        self._links = links
        self._handout = handout
        self._max_connections = max_connections
        self._autoscale = Autoscale(settings)
        self._period = autoscale.period(settings)
        self._next_look = 0.0  # monotonic seconds
        self._at_start = limits.low
        self._shared = settings.offload_max == "auto"
        self._told: dict[int, int] = {}  # by serial: how many workers there are, as far as it knows

    @property
    def _free(self) -> bool:
        """Whether there is something to choose."""
        return self.limits.low < self.limits.high

    def tick(self, now: float) -> None:
        """Measure and decide, when it is time; tell workers how many share the CPUs."""
        self._decide(now)
        self._tell_shares()

    def deadlines(self) -> Iterator[float]:
        """When `tick` has something to do, should nothing happen before."""
        if self._free:
            yield self._next_look

    def step(self, by: int) -> None:
        """One worker more or less. Within limits that lie apart, those stay; else the number itself is what changes."""
        wanted = self._roster.wanted + by
        if self._free and not self.limits.low <= wanted <= self.limits.high:
            _log.info(
                "there may be no %s than %s (%s)", "more" if by > 0 else "fewer", self._roster.wanted, self._range
            )
            return
        if wanted < 1:
            _log.info("there may be no fewer than 1")
            return
        try:
            low, high = self.limits if self._free else parse_workers(str(wanted))
        except ValueError as error:
            _log.warning("cannot scale to %d workers: %s", wanted, error)
            return
        self._want(wanted, WorkerRange(low, high))

    def scale_to(self, low: int, high: int) -> None:
        """Want so many workers: from now on between these. Raises CommandError."""
        try:
            limits = parse_workers(f"{low}:{high}")
        except ValueError as error:
            raise CommandError(f"cannot scale to {low}:{high} workers: {error}") from None
        self._want(self._roster.wanted, limits)

    def go_on_from(self, workers: int) -> None:
        """Before the start: another master, whose place we take, has had so many. Within limits, have as many."""
        self._roster.wanted = min(max(workers, self.limits.low), self.limits.high)

    def _decide(self, now: float) -> None:
        if not self._free or now < self._next_look:
            return
        self._next_look = now + self._period
        wanted = self._roster.wanted
        verdict = self._autoscale.look(self._measure(now), wanted, *self.limits)
        if verdict is None:
            return
        if verdict.workers == wanted:
            _log.info("%s (%s)", verdict.words, self._range)
            return
        self._roster.wanted = verdict.workers
        _log.info(
            "scaling from %d to %s: %s",
            wanted,
            _workers(verdict.workers),
            verdict.words,
            extra=happened("scale"),
        )

    def _want(self, wanted: int, limits: WorkerRange) -> None:
        self.limits = limits
        self._roster.wanted = min(max(wanted, limits.low), limits.high)
        self._autoscale.forget()
        among = f" ({self._range})" if self._free else ""
        _log.info("scaling to %s%s", _workers(self._roster.wanted), among, extra=happened("scale"))

    def _tell_shares(self) -> None:
        """Workers that were started or told otherwise are to know how many there are, once they serve."""
        if not self._shared:
            return
        wanted, told = self._roster.wanted, {}
        for handle in self._roster.in_state(State.READY, State.STALLED):
            knows = self._told.get(handle.serial, self._at_start)
            if knows != wanted:
                with suppress(ChannelClosed):  # it has just died
                    knows = wanted if self._links[handle.serial].channel.send(Share(wanted)) else knows
            told[handle.serial] = knows
        self._told = told

    @property
    def _range(self) -> str:
        return f"{self.limits.low}:{self.limits.high}"

    def _measure(self, now: float) -> Load:
        wanted = range(self._roster.wanted)
        serving = [h for h in self._roster.in_state(State.READY, State.STALLED) if h.slot in wanted]
        # A slot that is being replaced has two for a moment: the later one is counted. Those on trial replace nobody.
        trial = None if self._roster.canary is None else self._roster.canary.generation
        serving.sort(key=lambda handle: handle.serial)
        counted = {(handle.slot, handle.generation == trial): handle for handle in serving}.values()
        links = [self._links[handle.serial] for handle in counted]
        return Load(
            at=now,
            workers=len(links),
            busy=sum(self._busy(handle, now) for handle in counted),
            waiting=self._handout.queued(),
            open=sum(link.load for link in links),
            most=self._max_connections,
        )

    def _busy(self, handle: WorkerHandle, now: float) -> float:
        board = self._links[handle.serial].board
        silent = now - max(board.last_beat, handle.ready_at or 0.0)
        return 1.0 if handle.state is State.STALLED or silent >= LATE_SECONDS else board.busy


def _workers(count: int) -> str:
    return f"{count} worker{'' if count == 1 else 's'}"
