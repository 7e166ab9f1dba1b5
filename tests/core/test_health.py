"""What is done about workers that are late, just below and just above each limit."""

import pytest

from prefork.core.health import (
    ABORT_SECONDS,
    DRAIN_GRACE_SECONDS,
    Abort,
    Action,
    Kill,
    Recover,
    Stall,
    deadlines,
    examine,
)
from prefork.core.lifecycle import State
from prefork.core.roster import Roster, WorkerHandle
from prefork.settings import Settings
from tests.core.roster import PATHS, add

SETTINGS = Settings(stall_seconds=1.0, hang_seconds=60.0, boot_seconds=30.0)
JUST = 0.001


def worker(state: State, now: float = 0.0) -> WorkerHandle:
    return add(Roster(1), 0, state, now=now)


def verdict(handle: WorkerHandle, now: float, beat: float = 0.0, settings: Settings = SETTINGS) -> Action | None:
    actions = examine([handle], {handle.serial: beat}, now, settings)
    assert actions == examine([handle], {handle.serial: beat}, now, settings), "asking twice must not matter"
    assert len(actions) <= 1
    return actions[0] if actions else None


def test_a_worker_that_boots_in_time_is_left_alone_and_a_late_one_is_ended() -> None:
    handle = worker(State.BOOTING, now=100.0)
    assert verdict(handle, 130.0 - JUST) is None
    assert verdict(handle, 130.0) == Abort(handle, "it did not boot within 30 s")


def test_a_booting_worker_has_no_heartbeat_to_be_late_with() -> None:
    assert verdict(worker(State.BOOTING), 20.0) is None


def test_a_worker_is_stalled_when_its_beat_is_late() -> None:
    handle = worker(State.READY)
    assert verdict(handle, 51.0 - JUST, beat=50.0) is None
    assert verdict(handle, 51.0, beat=50.0) == Stall(handle, 1.0)


def test_a_worker_that_just_became_ready_has_its_time_for_the_first_beat() -> None:
    handle = worker(State.READY, now=50.0)
    assert verdict(handle, 51.0 - JUST) is None
    assert verdict(handle, 51.0) == Stall(handle, 1.0)


def test_a_beat_recovers_a_stalled_worker() -> None:
    handle = worker(State.STALLED)
    assert isinstance(verdict(handle, 51.0 - JUST, beat=50.0), Recover)
    assert verdict(handle, 51.0, beat=50.0) is None


def test_a_stall_past_the_hang_limit_ends_the_worker() -> None:
    handle = worker(State.STALLED)
    assert verdict(handle, 110.0 - JUST, beat=50.0) is None
    action = verdict(handle, 110.0, beat=50.0)
    assert isinstance(action, Abort)
    assert "60.0 s" in action.reason


def test_no_hang_limit_means_never() -> None:
    assert verdict(worker(State.STALLED), 1e6, settings=Settings(hang_seconds=0.0)) is None


def test_an_aborted_worker_that_lives_on_is_killed_once() -> None:
    handle = worker(State.STALLED)
    handle.aborted_at = 110.0
    assert verdict(handle, 110.0 + ABORT_SECONDS - JUST) is None
    assert isinstance(verdict(handle, 110.0 + ABORT_SECONDS), Kill)
    handle.killed = True
    assert verdict(handle, 1e6) is None


def test_a_worker_that_drains_past_its_limit_and_grace_is_killed() -> None:
    handle = worker(State.DRAINING)
    handle.drain_until = 40.0
    assert verdict(handle, 40.0 + DRAIN_GRACE_SECONDS - JUST) is None
    assert isinstance(verdict(handle, 40.0 + DRAIN_GRACE_SECONDS), Kill)


def test_a_draining_worker_with_time_left_is_not_called_stalled() -> None:
    handle = worker(State.DRAINING)
    handle.drain_until = 40.0
    assert verdict(handle, 39.0, beat=1.0) is None


@pytest.mark.parametrize("state", PATHS)
def test_a_worker_whose_fork_is_not_reported_yet_has_no_process_to_end(state: State) -> None:
    handle = worker(state)
    handle.pid = None
    assert verdict(handle, 1e6) is None
    assert list(deadlines([handle], {}, 1e6, SETTINGS)) == [handle.ordered_at + SETTINGS.boot_seconds]


@pytest.mark.parametrize("state", [State.BOOTING, State.READY, State.DRAINING])
@pytest.mark.parametrize("aborted_at", [None, 5.0])
def test_nothing_is_due_before_the_deadline_and_something_is_at_it(state: State, aborted_at: float | None) -> None:
    handle = worker(state)
    handle.drain_until = 40.0 if state is State.DRAINING else None
    handle.aborted_at = aborted_at
    beats = {handle.serial: 7.0}
    (due,) = deadlines([handle], beats, 0.0, SETTINGS)
    assert examine([handle], beats, due - JUST, SETTINGS) == []
    assert len(examine([handle], beats, due, SETTINGS)) == 1


def test_a_stalled_worker_is_looked_at_several_times_a_stall_limit() -> None:
    assert list(deadlines([worker(State.STALLED)], {}, 10.0, SETTINGS)) == [10.25]


def test_only_the_worker_that_is_late_is_named() -> None:
    roster = Roster(2)
    prompt, late = add(roster, 0), add(roster, 1)
    assert examine(roster, {prompt.serial: 9.5, late.serial: 8.0}, 10.0, SETTINGS) == [Stall(late, 2.0)]
