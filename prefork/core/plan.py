"""Decide which workers to order and which to retire, so that the roster comes to match the wish.

Respawn, scaling and reload are one rule: each wanted slot holds one worker of the wanted generation. A slot is replaced
by ordering the new worker first and retiring the old one when the new one is ready, one slot at a time.
"""

from collections.abc import Iterator
from dataclasses import dataclass

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
    replacing = any(len([h for h in roster.of_slot(slot) if h.active]) > 1 for slot in range(roster.wanted))
    for slot in range(roster.wanted):
        active = [handle for handle in roster.of_slot(slot) if handle.active]
        newest = max((handle.generation for handle in active), default=0)
        may_boot = roster.backoff(slot).not_before <= now
        if not active:
            if may_boot:
                steps.append(Spawn(slot, roster.generation))
        elif newest < roster.generation and not replacing:
            if may_boot:
                steps.append(Spawn(slot, roster.generation))
                replacing = True
        elif any(handle.generation == newest and handle.state is State.READY for handle in active):
            steps += [Retire(handle, "reload") for handle in active if handle.generation < newest]
    steps += [Retire(handle, "scale-down") for handle in roster if handle.active and handle.slot >= roster.wanted]
    return steps


def deadlines(roster: Roster, now: float) -> Iterator[float]:
    """When `plan` could next have something to say, should nothing else happen."""
    for slot in range(roster.wanted):
        if roster.backoff(slot).not_before > now:
            yield roster.backoff(slot).not_before
