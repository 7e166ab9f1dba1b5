"""Respawn, scaling and reload: what the master orders so that the roster comes to match the wish."""

import pytest

from prefork.core.lifecycle import Event, State
from prefork.core.plan import Retire, Spawn, deadlines, plan
from prefork.core.roster import Roster
from tests.core.roster import PATHS, add, full


def test_an_empty_roster_is_filled_at_once() -> None:
    assert plan(Roster(3), 0.0) == [Spawn(0, 1), Spawn(1, 1), Spawn(2, 1)]


@pytest.mark.parametrize("state", [State.BOOTING, State.READY, State.STALLED])
def test_a_slot_that_is_held_gets_no_second_worker(state: State) -> None:
    roster = Roster(1)
    add(roster, 0, state)
    assert plan(roster, 0.0) == []


def test_a_dead_worker_is_replaced_in_its_slot() -> None:
    roster = full(3)
    roster.remove(roster.handles[1])
    assert plan(roster, 0.0) == [Spawn(1, 1)]


def test_a_draining_worker_no_longer_holds_its_slot() -> None:
    roster = full(1)
    roster.handles[0].apply(Event.RETIRED)
    assert plan(roster, 0.0) == [Spawn(0, 1)]


def test_a_slot_that_backs_off_waits_until_its_time_and_no_longer() -> None:
    roster = full(2)
    roster.remove(roster.handles[0])
    roster.backoff(0).not_before = 10.0
    assert plan(roster, 9.999) == []
    assert list(deadlines(roster, 9.999)) == [10.0]
    assert plan(roster, 10.0) == [Spawn(0, 1)]
    assert list(deadlines(roster, 10.0)) == []


def test_scaling_up_fills_the_new_slots() -> None:
    roster = full(1)
    roster.wanted = 3
    assert plan(roster, 0.0) == [Spawn(1, 1), Spawn(2, 1)]


@pytest.mark.parametrize("state", [State.BOOTING, State.READY, State.STALLED])
def test_scaling_down_retires_the_highest_slots_whatever_they_do(state: State) -> None:
    roster = full(1)
    surplus = add(roster, 1, state)
    assert plan(roster, 0.0) == [Retire(surplus, "scale-down")]
    surplus.apply(Event.RETIRED)
    assert plan(roster, 0.0) == []


def test_reload_orders_one_replacement_and_leaves_the_old_worker_alone() -> None:
    roster = full(3)
    roster.generation = 2
    assert plan(roster, 0.0) == [Spawn(0, 2)]
    add(roster, 0, State.BOOTING)
    assert plan(roster, 0.0) == []


def test_reload_retires_the_old_worker_when_the_new_one_is_ready() -> None:
    roster = full(2)
    roster.generation = 2
    old = roster.handles[0]
    new = add(roster, 0, State.BOOTING)
    new.apply(Event.REPORTED_READY)
    assert plan(roster, 0.0) == [Retire(old, "reload")]
    old.apply(Event.RETIRED)
    assert plan(roster, 0.0) == [Spawn(1, 2)]


def test_a_replacement_that_dies_leaves_the_old_worker_in_place() -> None:
    roster = full(1)
    roster.generation = 2
    roster.remove(add(roster, 0, State.BOOTING))
    roster.backoff(0).died(None, now=0.0)
    assert plan(roster, 0.0) == []
    assert plan(roster, 0.1) == [Spawn(0, 2)]


def test_a_worker_that_dies_during_a_reload_is_replaced_by_the_new_generation() -> None:
    roster = full(2)
    roster.generation = 2
    add(roster, 0, State.BOOTING)
    roster.remove(roster.handles[1])
    assert plan(roster, 0.0) == [Spawn(1, 2)]


def test_a_second_reload_replaces_what_the_first_one_brought() -> None:
    roster = full(1)
    oldest = roster.handles[0]
    roster.generation = 2
    middle = add(roster, 0, State.BOOTING)
    roster.generation = 3
    assert plan(roster, 0.0) == []  # three workers for one slot would be one too many
    middle.apply(Event.REPORTED_READY)
    assert plan(roster, 0.0) == [Retire(oldest, "reload")]
    oldest.apply(Event.RETIRED)
    assert plan(roster, 0.0) == [Spawn(0, 3)]


@pytest.mark.parametrize("wanted", [0, 1, 3])
@pytest.mark.parametrize("state", PATHS)
def test_asking_twice_gives_the_same_answer(wanted: int, state: State) -> None:
    roster = full(2)
    add(roster, 0, state, generation=2)
    roster.wanted, roster.generation = wanted, 2
    assert plan(roster, 0.0) == plan(roster, 0.0)
