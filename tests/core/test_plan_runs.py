"""The plan carried out under reloads, scaling and deaths in any order: it arrives, and never overdoes it."""

from hypothesis import given
from hypothesis import strategies as st

from prefork.core.lifecycle import Event, State
from prefork.core.plan import Retire, Spawn, plan
from prefork.core.roster import Roster

OCCURRENCES = st.lists(st.sampled_from(["reload", "more", "fewer", "ready", "exit", "step"]), max_size=40)


def perform(roster: Roster) -> bool:
    """Do what the plan says. Returns whether it said anything."""
    steps = plan(roster, 0.0)
    for step in steps:
        match step:
            case Spawn(slot, generation):
                roster.add(slot, generation, 0.0)
            case Retire(handle, _):
                handle.apply(Event.RETIRED)
    return bool(steps)


def happen(roster: Roster, occurrence: str, choice: int) -> None:
    booting, alive = roster.in_state(State.BOOTING), list(roster)
    match occurrence:
        case "reload":
            roster.generation += 1
        case "more":
            roster.wanted += 1
        case "fewer":
            roster.wanted = max(1, roster.wanted - 1)
        case "ready" if booting:
            booting[choice % len(booting)].apply(Event.REPORTED_READY)
        case "exit" if alive:
            roster.remove(alive[choice % len(alive)])
        case "step":
            perform(roster)


def hold_at_most_one_replacement(roster: Roster) -> None:
    held = [len([handle for handle in roster.of_slot(slot) if handle.active]) for slot in range(roster.wanted)]
    assert max(held) <= 2
    assert held.count(2) <= 1


@given(OCCURRENCES, st.integers(0, 100))
def test_a_roster_comes_to_match_the_wish_whatever_happened_before(occurrences: list[str], choice: int) -> None:
    roster = Roster(2)
    for occurrence in occurrences:
        happen(roster, occurrence, choice)
        if roster.wanted <= 2:
            hold_at_most_one_replacement(roster)
    for _ in range(4 * (roster.wanted + 1)):
        perform(roster)
        for handle in roster.in_state(State.BOOTING):
            handle.apply(Event.REPORTED_READY)
        for handle in roster.in_state(State.DRAINING):
            roster.remove(handle)
    assert not perform(roster)
    assert roster.complete
    assert roster.settled
    assert len(roster.handles) == roster.wanted


@given(st.integers(1, 5))
def test_a_reload_never_lowers_the_number_of_ready_workers(wanted: int) -> None:
    roster = Roster(wanted)
    perform(roster)
    for handle in roster:
        handle.apply(Event.REPORTED_READY)
    roster.generation = 2
    while perform(roster):
        assert len(roster.in_state(State.READY)) >= wanted
        for handle in roster.in_state(State.BOOTING):
            handle.apply(Event.REPORTED_READY)
    assert roster.settled
