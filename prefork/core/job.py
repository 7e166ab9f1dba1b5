"""The life of a job as one table: state × event → next state."""

from enum import Enum

from prefork.core.moves import follow


class State(Enum):
    """What a job is, as the worker that submitted it knows."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    TIMED_OUT = "timed out"
    CANCELLED = "cancelled"
    CRASHED = "crashed"

    __hash__ = object.__hash__  # an enum's own is a call in Python, twice a job


class Event(Enum):
    """What can happen to a job."""

    GIVEN = "given to an offloader"
    TAKEN_BACK = "taken back unread"
    RETURNED = "returned"
    RAISED = "raised"
    EXPIRED = "deadline passed"
    CANCELLED = "cancelled"
    DIED = "its process died"
    RETRIED = "tried again"

    __hash__ = object.__hash__


# Each pair that may happen is in here; `docs/jobs.md` is made from this table. What is refused is never a job.
MOVES: dict[tuple[State, Event], State] = {
    (State.WAITING, Event.GIVEN): State.RUNNING,
    (State.WAITING, Event.RAISED): State.FAILED,  # no offloader can start, and it will not help to wait
    (State.WAITING, Event.EXPIRED): State.TIMED_OUT,
    (State.WAITING, Event.CANCELLED): State.CANCELLED,
    (State.RUNNING, Event.TAKEN_BACK): State.WAITING,
    (State.RUNNING, Event.RETURNED): State.DONE,
    (State.RUNNING, Event.RAISED): State.FAILED,
    (State.RUNNING, Event.EXPIRED): State.TIMED_OUT,
    (State.RUNNING, Event.CANCELLED): State.CANCELLED,
    (State.RUNNING, Event.RETRIED): State.WAITING,
    (State.RUNNING, Event.DIED): State.CRASHED,
}


def move(state: State, event: Event) -> State:
    """The state after an event. Raises ValueError for a pair that cannot happen."""
    return follow(MOVES, state, event, "a job")
