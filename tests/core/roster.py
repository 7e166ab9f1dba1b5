"""Rosters for tests: workers in any state, made by the events that lead there."""

from prefork.core.lifecycle import Event, State
from prefork.core.roster import Roster, WorkerHandle

PATHS: dict[State, tuple[Event, ...]] = {
    State.BOOTING: (),
    State.READY: (Event.REPORTED_READY,),
    State.STALLED: (Event.REPORTED_READY, Event.BEAT_LATE),
    State.DRAINING: (Event.REPORTED_READY, Event.RETIRED),
}


def add(
    roster: Roster, slot: int, state: State = State.READY, generation: int | None = None, now: float = 0.0
) -> WorkerHandle:
    """A worker of that slot, brought into `state`; of the wanted generation unless told otherwise."""
    handle = roster.add(slot, roster.generation if generation is None else generation, now)
    handle.pid = 1000 + handle.serial
    for event in PATHS[state]:
        handle.apply(event)
    if state is not State.BOOTING:
        handle.ready_at = now
    return handle


def full(wanted: int, generation: int = 1) -> Roster:
    """A roster whose every wanted slot holds a ready worker."""
    roster = Roster(wanted, generation)
    for slot in range(wanted):
        add(roster, slot)
    return roster
