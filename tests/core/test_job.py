"""The table of a job's life."""

from itertools import product

import pytest

from prefork.core.job import MOVES, Event, State, move

OVER = {State.DONE, State.FAILED, State.TIMED_OUT, State.CANCELLED, State.CRASHED}


@pytest.mark.parametrize(("state", "event"), MOVES, ids=lambda word: word.name)
def test_a_pair_of_the_table_leads_to_its_state(state: State, event: Event) -> None:
    assert move(state, event) is MOVES[state, event]


@pytest.mark.parametrize(
    ("state", "event"), [pair for pair in product(State, Event) if pair not in MOVES], ids=lambda word: word.name
)
def test_a_pair_that_cannot_happen_raises_and_names_both_words(state: State, event: Event) -> None:
    with pytest.raises(ValueError, match=rf"^a job that is {state.value} cannot be told: {event.value}$"):
        move(state, event)


def test_a_job_that_is_over_stays_what_it_is() -> None:
    assert {state for state, _ in MOVES} == set(State) - OVER


def test_every_state_can_be_reached_by_a_new_job() -> None:
    reached = {State.WAITING}
    while more := {after for (before, _), after in MOVES.items() if before in reached} - reached:
        reached |= more
    assert reached == set(State)


@pytest.mark.parametrize("state", [State.WAITING, State.RUNNING])
def test_a_deadline_and_a_cancellation_end_a_job_whatever_it_does(state: State) -> None:
    assert move(state, Event.EXPIRED) is State.TIMED_OUT
    assert move(state, Event.CANCELLED) is State.CANCELLED


@pytest.mark.parametrize("event", [Event.TAKEN_BACK, Event.RETRIED])
def test_only_a_job_that_was_given_can_wait_again(event: Event) -> None:
    assert {before for before, told in MOVES if told is event} == {State.RUNNING}
    assert move(State.RUNNING, event) is State.WAITING


def test_only_a_job_that_runs_can_crash() -> None:
    assert {pair for pair, after in MOVES.items() if after is State.CRASHED} == {(State.RUNNING, Event.DIED)}


def test_states_are_told_apart_in_sets_and_tables() -> None:
    """Their hash is not an enum's own: it must still fit their equality."""
    assert len({*State, *State}) == len(State)
    assert dict.fromkeys(Event, 1)[Event("returned")] == 1
