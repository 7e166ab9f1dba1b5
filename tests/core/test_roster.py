"""The master's bookkeeping of its workers."""

import pytest

from prefork.core.lifecycle import Event, State
from prefork.core.roster import Roster
from tests.core.roster import PATHS, add, full


def test_a_serial_is_never_used_twice() -> None:
    roster = Roster(1)
    serials = []
    for _ in range(3):
        handle = add(roster, 0)
        serials.append(handle.serial)
        roster.remove(handle)
    assert len(set(serials)) == 3


def test_a_new_worker_boots_and_has_no_pid_yet() -> None:
    handle = Roster(1).add(0, 1, now=5.0)
    assert handle.state is State.BOOTING
    assert handle.pid is None
    assert handle.ordered_at == 5.0


def test_a_removed_worker_is_gone_and_cannot_be_told_anything() -> None:
    roster = full(1)
    (handle,) = roster
    roster.remove(handle)
    assert handle.state is State.GONE
    assert list(roster) == []
    with pytest.raises(ValueError, match="gone"):
        handle.apply(Event.RETIRED)


@pytest.mark.parametrize("state", PATHS)
def test_a_worker_holds_its_slot_until_it_drains(state: State) -> None:
    assert add(Roster(1), 0, state).active is (state is not State.DRAINING)


def test_workers_are_found_by_what_is_known_of_them() -> None:
    roster = full(2)
    draining = add(roster, 1, State.DRAINING)
    assert roster.of_slot(1) == [roster.handles[1], draining]
    assert roster.in_state(State.READY) == roster.handles[:2]
    assert roster.in_state(State.READY, State.DRAINING) == roster.handles
    assert roster.by_serial(draining.serial) is draining
    assert roster.by_pid(draining.pid or 0) is draining
    assert roster.by_pid(1) is None
    assert roster.by_serial(99) is None


def test_backoff_belongs_to_the_slot_and_outlives_its_workers() -> None:
    roster = full(1)
    roster.backoff(0).died(None, now=0.0)
    roster.remove(roster.handles[0])
    assert roster.backoff(0).failures == 1
    assert roster.backoff(1).failures == 0


@pytest.mark.parametrize("state", PATHS)
def test_a_roster_is_complete_when_each_wanted_slot_has_a_ready_worker(state: State) -> None:
    roster = full(1)
    add(roster, 1, state)
    roster.wanted = 2
    assert roster.complete is (state is State.READY)


def test_a_wanted_slot_without_a_worker_is_missing() -> None:
    roster = full(1)
    roster.wanted = 2
    assert not roster.complete


def test_a_roster_of_one_generation_is_settled() -> None:
    assert full(2).settled


@pytest.mark.parametrize("state", PATHS)
def test_a_roster_is_not_settled_while_an_older_generation_holds_a_slot(state: State) -> None:
    roster = full(1, generation=2)
    handle = add(roster, 0, state, generation=1)
    assert roster.settled is not handle.active


def test_a_worker_is_named_by_slot_generation_and_pid() -> None:
    handle = add(Roster(1, generation=3), 0)
    assert str(handle) == f"worker 0 (generation 3, pid {handle.pid})"
