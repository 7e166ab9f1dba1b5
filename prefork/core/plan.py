"""Decide which workers to order and which to retire, so that the roster comes to match the wish.

Respawn, scaling, reload and the replacement of a worker that is to go (`WorkerHandle.retiring`) are one rule: each
wanted slot holds one worker of the wanted generation that may stay. A slot is replaced by ordering the new worker first
and retiring the old one when the new one is ready, one slot at a time. Slots with older code come first.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from prefork.core.lifecycle import State
from prefork.core.roster import Roster, WorkerHandle


@dataclass(frozen=True, slots=True)
class Spawn:
    """Order a worker for this slot."""

    slot: int
    generation: int


@dataclass(frozen=True, slots=True)
class Retire:
    """Let this worker drain."""

    handle: WorkerHandle
    reason: str


Step = Spawn | Retire


def plan(roster: Roster, now: float) -> list[Step]:
    """The next steps. Calling it twice with the same roster and time gives the same answer."""
    steps: list[Step] = []
    outdated: list[int] = []  # slots whose latest worker is of older code
    retiring: list[int] = []  # slots whose latest worker is to go
    replacing = False
    for slot in range(roster.wanted):
        active = sorted((handle for handle in roster.of_slot(slot) if handle.active), key=_age)
        replacing = replacing or len(active) > 1
        if not active:
            if _may_boot(roster, slot, now):
                steps.append(Spawn(slot, roster.generation))
        elif active[-1].generation < roster.generation:
            outdated.append(slot)
        elif active[-1].retiring:
            retiring.append(slot)
        # The latest that is ready holds the slot, even if it is to go itself; those before it are not needed any more.
        ready = [handle for handle in active if handle.state is State.READY]
        for handle in active[: active.index(ready[-1])] if ready else []:
            steps.append(Retire(handle, handle.retiring if handle.generation == ready[-1].generation else "reload"))
    if not replacing:
        able = (slot for slot in outdated + retiring if _may_boot(roster, slot, now))
        steps += [Spawn(slot, roster.generation) for slot in islice(able, 1)]
    steps += [Retire(handle, "scale-down") for handle in roster if handle.active and handle.slot >= roster.wanted]
    return steps


def _age(handle: WorkerHandle) -> tuple[int, int]:
    """What is later is newer, but newer code comes first: while it was on trial, old workers may have been replaced."""
    return handle.generation, handle.serial


def _may_boot(roster: Roster, slot: int, now: float) -> bool:
    return roster.backoff(slot).not_before <= now


def deadlines(roster: Roster, now: float) -> Iterator[float]:
    """When `plan` could next have something to say, should nothing else happen."""
    for slot in range(roster.wanted):
        if roster.backoff(slot).not_before > now:
            yield roster.backoff(slot).not_before
