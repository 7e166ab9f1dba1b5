"""The life of a worker as one table: state × event → next state."""

from enum import Enum

from prefork.core.moves import follow


class State(Enum):
    """What a worker is, as far as was reported."""

    BOOTING = "booting"
    READY = "ready"
    STALLED = "stalled"
    DRAINING = "draining"
    GONE = "gone"


class Event(Enum):
    """What can happen to a worker."""

    REPORTED_READY = "reported ready"
    BEAT_LATE = "heartbeat late"
    BEAT_AGAIN = "heartbeat again"
    RETIRED = "retired"
    EXITED = "exited"


# Each pair that may happen is in here. `docs/architecture.md` draws its diagram from this table.
MOVES: dict[tuple[State, Event], State] = {
    (State.BOOTING, Event.REPORTED_READY): State.READY,
    (State.BOOTING, Event.RETIRED): State.DRAINING,
    (State.BOOTING, Event.EXITED): State.GONE,
    (State.READY, Event.BEAT_LATE): State.STALLED,
    (State.READY, Event.RETIRED): State.DRAINING,
    (State.READY, Event.EXITED): State.GONE,
    (State.STALLED, Event.BEAT_AGAIN): State.READY,
    (State.STALLED, Event.RETIRED): State.DRAINING,
    (State.STALLED, Event.EXITED): State.GONE,
    (State.DRAINING, Event.REPORTED_READY): State.DRAINING,  # its report and our order crossed
    (State.DRAINING, Event.RETIRED): State.DRAINING,  # a stop while it drains for a reload
    (State.DRAINING, Event.EXITED): State.GONE,
}


def move(state: State, event: Event) -> State:
    """The state after an event. Raises ValueError for a pair that cannot happen."""
    return follow(MOVES, state, event, "a worker")
