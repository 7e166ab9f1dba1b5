"""Measure what workers have used, and mark those for replacement that have reached a limit, or that a command names."""

import logging
from collections.abc import Iterator, Mapping
from random import Random
from typing import Final

from prefork.core import retiring
from prefork.core.lifecycle import State
from prefork.core.retiring import Limits, Used
from prefork.core.roster import Roster, WorkerHandle
from prefork.processes.link import WorkerLink
from prefork.settings import Settings
from prefork.system.usage import usage

LOOK_SECONDS: Final = 0.25  # as often as workers tell how many requests they have answered
MEASURE_SECONDS: Final = 1.0  # between two looks at memory: to look costs some 20 µs a worker

_log = logging.getLogger("prefork.supervisor")


class WorkerLimits:
    """Sets `WorkerHandle.retiring`; what follows from it is decided in `core.plan`."""

    def __init__(self, settings: Settings, roster: Roster, links: Mapping[int, WorkerLink]) -> None:
        """`links` by serial, kept by the caller."""
        self._settings = settings
        self._roster = roster
        self._links = links
        self._limited = retiring.limited(settings)
        self._chance = Random().random
        self._drawn: dict[int, Limits] = {}  # by serial
        self._next_look = self._next_measure = 0.0  # monotonic seconds
        self._hopeless_generation = 0  # the latest of which was told that it cannot keep --max-rss

    def tick(self, now: float) -> None:
        """Look at the workers that serve, when it is time, and at once at those that have just become ready."""
        if not self._limited:
            return
        due = now >= self._next_look
        measure = due and now >= self._next_measure
        if due:
            self._next_look = now + LOOK_SECONDS
            living = {handle.serial for handle in self._roster}
            self._drawn = {serial: limits for serial, limits in self._drawn.items() if serial in living}
        if measure:
            self._next_measure = now + MEASURE_SECONDS
        for handle in self._roster.in_state(State.READY, State.STALLED):
            if handle.serial not in self._drawn:
                self._draw(handle)
            elif due and not handle.retiring:
                self._look(handle, now, measure)

    def deadlines(self) -> Iterator[float]:
        """When `tick` has something to do, should nothing happen before."""
        if self._limited:
            yield self._next_look

    def retire(self, slot: int) -> None:
        """Have the worker of a slot replaced. Raises CommandError."""
        handle = retiring.to_retire(self._roster, slot)
        handle.retiring = retiring.BY_COMMAND
        _log.info("%s is replaced: a command says so", handle)

    def _draw(self, handle: WorkerHandle) -> None:
        rss = self._rss(handle)
        self._drawn[handle.serial] = retiring.draw(self._settings, self._chance, rss)
        if retiring.hopeless(self._settings, rss) and handle.generation > self._hopeless_generation:
            self._hopeless_generation = handle.generation
            _log.warning(
                "%s holds %s just after its start, more than --max-rss %s: workers of this generation that do so are "
                "not replaced for it",
                handle,
                retiring.mib(rss),
                retiring.mib(self._settings.max_rss),
            )

    def _look(self, handle: WorkerHandle, now: float, measure: bool) -> None:
        requests, ready_at = self._links[handle.serial].board.requests, handle.ready_at or now
        used = Used(requests, now - ready_at, self._rss(handle) if measure else 0)
        found = retiring.reached(self._drawn[handle.serial], used, self._settings)
        if found is not None:
            handle.retiring = found.reason
            _log.info("%s is replaced: %s", handle, found.words)

    def _rss(self, handle: WorkerHandle) -> int:
        """Bytes; 0 when it has just died."""
        used = usage(handle.pid) if self._settings.max_rss and handle.pid is not None else None
        return used.rss if used is not None else 0
