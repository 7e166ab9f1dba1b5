"""The table of a worker's life: every pair is either in it or refused."""

from itertools import product

import pytest

from prefork.core.lifecycle import MOVES, Event, State, move


@pytest.mark.parametrize(("state", "event"), list(product(State, Event)), ids=lambda word: word.name.lower())
def test_every_pair_moves_as_the_table_says_or_raises_naming_both(state: State, event: Event) -> None:
    if (state, event) in MOVES:
        assert move(state, event) is MOVES[state, event]
    else:
        with pytest.raises(ValueError, match=f"{state.value} cannot be told: {event.value}"):
            move(state, event)


def test_whatever_lives_can_exit_and_be_retired() -> None:
    for state in set(State) - {State.GONE}:
        assert move(state, Event.EXITED) is State.GONE
        assert move(state, Event.RETIRED) is State.DRAINING


def test_gone_is_the_end() -> None:
    assert not [event for event in Event if (State.GONE, event) in MOVES]


def test_a_draining_worker_never_serves_again() -> None:
    assert {target for (state, _), target in MOVES.items() if state is State.DRAINING} == {State.DRAINING, State.GONE}


def test_only_a_ready_worker_can_stall_and_a_beat_makes_it_ready() -> None:
    assert [state for (state, event) in MOVES if event is Event.BEAT_LATE] == [State.READY]
    assert move(State.STALLED, Event.BEAT_AGAIN) is State.READY


def test_every_state_can_be_reached_from_booting() -> None:
    reached = {State.BOOTING}
    for _ in State:
        reached |= {target for (state, _), target in MOVES.items() if state in reached}
    assert reached == set(State)
