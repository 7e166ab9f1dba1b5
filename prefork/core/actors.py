"""Decide which processes of actors are started, given up and let go. No processes here, and no clock."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from prefork.core.backoff import Backoff


@dataclass(eq=False)
class Place:
    """One of an actor's processes, through its lives. Times are monotonic seconds."""

    process: int | None = None  # serial of the one that was ordered and is not gone
    ordered_at: float = 0.0
    ready_at: float | None = None
    proven: bool = False  # it has been ready in some life
    backoff: Backoff = field(default_factory=Backoff)

    def ordered(self, process: int, now: float) -> None:
        self.process, self.ordered_at, self.ready_at = process, now, None

    def ready(self, now: float) -> None:
        self.ready_at, self.proven = now, True

    def died(self, now: float) -> float:
        """Returns the seconds until its next life."""
        lived = None if self.ready_at is None else now - self.ready_at
        self.process = self.ready_at = None
        return self.backoff.died(lived, now)


@dataclass(eq=False)
class Group:
    """The processes of one actor. `shared`: by all workers of its generation."""

    generation: int
    shared: bool
    places: list[Place]
    users: int = 0  # who is connected
    orphaned: bool = False  # nobody can start its processes any more: those that live are the last
    ending: bool = False  # its processes were let go

    @property
    def complete(self) -> bool:
        """Each of its processes has been ready: who needs it may go on, whatever happens to them later."""
        return all(place.proven for place in self.places)

    @property
    def empty(self) -> bool:
        return all(place.process is None for place in self.places)


class Start(NamedTuple):
    """Order a process for this place."""

    place: Place


class GiveUp(NamedTuple):
    """End the process of this place: it is not ready in time."""

    place: Place


class LetGo(NamedTuple):
    """Let all its processes end in order."""


class Fail(NamedTuple):
    """Tell who needs it that its last process is gone."""


def plan(group: Group, now: float, wanted: int | None, boot_seconds: float) -> list[Start | GiveUp | LetGo | Fail]:
    """What to do next. `wanted` is the generation that new workers are of; None: there will be none."""
    if group.ending:
        return []
    if not group.users and not (group.shared and group.generation == wanted):
        return [LetGo()]
    if group.orphaned and group.empty:
        return [Fail()]
    steps: list[Start | GiveUp | LetGo | Fail] = []
    for place in group.places:
        if place.process is None:
            if not group.orphaned and now >= place.backoff.not_before:
                steps.append(Start(place))
        elif place.ready_at is None and now >= place.ordered_at + boot_seconds:
            steps.append(GiveUp(place))
    return steps


def deadlines(group: Group, boot_seconds: float) -> Iterator[float]:
    """When `plan` could next have something to say, should nothing happen before."""
    if group.ending:
        return
    for place in group.places:
        if place.process is None:
            if not group.orphaned:
                yield place.backoff.not_before
        elif place.ready_at is None:
            yield place.ordered_at + boot_seconds
