"""Limits of workers, and how one that has reached a limit is replaced: by another that is ready before it drains."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.core import retiring
from prefork.core.lifecycle import Event, State
from prefork.core.plan import Retire, Spawn, plan
from prefork.core.retiring import Limits, Used
from prefork.core.roster import Canary, Roster
from prefork.errors import CommandError
from prefork.settings import Settings
from tests.core.roster import add, full

MIB = 1 << 20


def always(chance: float) -> Callable[[], float]:
    return lambda: chance


# -- limits


def test_without_settings_there_are_no_limits() -> None:
    assert not retiring.limited(Settings())
    assert retiring.draw(Settings(), always(0.5), 100 * MIB) == Limits(None, None, None)
    assert retiring.reached(Limits(), Used(1 << 40, 1e9, 1 << 50), Settings()) is None


@pytest.mark.parametrize(
    ("jitter", "least", "most"), [("auto", 10_000, 11_000), (0, 10_000, 10_000), (50, 10_000, 10_050)]
)
def test_requests_are_limited_with_a_jitter_by_chance(jitter: int | str, least: int, most: int) -> None:
    settings = Settings(max_requests=10_000, max_requests_jitter=jitter)  # type: ignore[arg-type]
    assert retiring.draw(settings, always(0.0), 0).requests == least
    assert retiring.draw(settings, always(0.999_999_9), 0).requests == most


def test_a_lifetime_has_a_jitter_of_a_tenth() -> None:
    settings = Settings(max_lifetime=100.0)
    assert retiring.draw(settings, always(0.0), 0).seconds == 100.0
    assert retiring.draw(settings, always(0.5), 0).seconds == pytest.approx(105.0)


def test_each_limit_is_reached_at_its_number_and_not_before_and_says_what_was_measured() -> None:
    settings = Settings(max_requests=10_000, max_lifetime=3600.0, max_rss=512 * MIB)
    limits = Limits(10_240, 3700.0, 512 * MIB)
    assert retiring.reached(limits, Used(10_239, 3699.9, 512 * MIB), settings) is None
    found = [
        retiring.reached(limits, used, settings)
        for used in (Used(10_240, 0.0, 0), Used(0, 3700.0, 0), Used(0, 0.0, 612 * MIB))
    ]
    assert [(limit.reason, limit.words) for limit in found if limit] == [
        ("max-requests", "10,240 requests (--max-requests 10000)"),
        ("max-lifetime", "3,700.0 s of service (--max-lifetime 3600)"),
        ("max-rss", "612.0 MiB of memory (--max-rss 512.0 MiB)"),
    ]


def test_a_worker_that_begins_with_too_much_memory_is_not_replaced_again_and_again() -> None:
    settings = Settings(max_rss=100 * MIB, max_requests=10)
    assert retiring.draw(settings, always(0.0), 100 * MIB) == Limits(10, None, 100 * MIB)
    assert not retiring.hopeless(settings, 100 * MIB)
    assert retiring.draw(settings, always(0.0), 100 * MIB + 1) == Limits(10, None, None)
    assert retiring.hopeless(settings, 100 * MIB + 1)


# -- whom a command means


def test_a_command_retires_the_worker_that_serves_the_slot() -> None:
    roster = full(2)
    assert retiring.to_retire(roster, 1) is roster.handles[1]


@pytest.mark.parametrize("slot", [-1, 2, 99])
def test_a_slot_that_is_not_there_has_no_worker_to_retire(slot: int) -> None:
    with pytest.raises(CommandError, match=rf"there is no slot {slot}: the slots are 0 to 1"):
        retiring.to_retire(full(2), slot)


def test_what_cannot_be_retired_is_refused_with_the_reason() -> None:
    roster = Roster(5)
    add(roster, 1, State.BOOTING)
    add(roster, 2, State.DRAINING)
    add(roster, 3).retiring = "max-rss"
    add(roster, 4)
    add(roster, 4, State.BOOTING)
    for slot, reason in enumerate(["no worker now", "still booting", "no worker now", "already", "already"]):
        with pytest.raises(CommandError, match=rf"slot {slot} .*{reason}"):
            retiring.to_retire(roster, slot)


def test_a_worker_on_trial_is_not_the_one_that_is_meant() -> None:
    roster = full(1)
    add(roster, 0, generation=2)
    roster.canary = Canary(2, 0.5)
    assert retiring.to_retire(roster, 0) is roster.handles[0]


# -- the replacement


def test_a_worker_that_is_to_go_serves_until_its_replacement_is_ready() -> None:
    roster = full(2)
    old = roster.handles[1]
    old.retiring = "max-requests"
    assert plan(roster, 0.0) == [Spawn(1, 1)]
    new = add(roster, 1, State.BOOTING)
    assert plan(roster, 0.0) == []
    new.apply(Event.REPORTED_READY)
    assert plan(roster, 0.0) == [Retire(old, "max-requests")]
    old.apply(Event.RETIRED)
    assert plan(roster, 0.0) == []


def test_workers_that_are_to_go_at_the_same_time_go_one_after_the_other() -> None:
    roster = full(3)
    for handle in roster:
        handle.retiring = "max-lifetime"
    assert plan(roster, 0.0) == [Spawn(0, 1)]
    new = add(roster, 0, State.BOOTING)
    assert plan(roster, 0.0) == []
    new.apply(Event.REPORTED_READY)
    [step] = plan(roster, 0.0)
    assert step == Retire(roster.handles[0], "max-lifetime")
    roster.handles[0].apply(Event.RETIRED)
    assert plan(roster, 0.0) == [Spawn(1, 1)]


def test_a_reload_goes_first_and_replaces_those_that_are_to_go_too() -> None:
    roster = full(2)
    roster.handles[0].retiring = "max-rss"
    roster.generation = 2
    new = add(roster, 0, State.READY)
    assert plan(roster, 0.0) == [Retire(roster.handles[0], "reload")]
    roster.handles[0].apply(Event.RETIRED)
    new.retiring = "max-rss"
    assert plan(roster, 0.0) == [Spawn(1, 2)]  # slot 1 has old code; slot 0 waits


def test_old_code_that_cannot_be_replaced_yet_holds_up_nobody() -> None:
    roster = full(2)
    roster.generation = 2
    roster.backoff(0).not_before = 10.0
    add(roster, 1).retiring = "max-rss"
    roster.handles[1].apply(Event.RETIRED)
    assert plan(roster, 0.0) == [Spawn(1, 2)]


def test_a_replacement_that_cannot_boot_leaves_the_old_one_serving_and_does_not_spin() -> None:
    roster = full(1)
    roster.handles[0].retiring = "max-rss"
    now, tries = 0.0, 0
    while now < 60.0:
        for step in plan(roster, now):
            assert step == Spawn(0, 1)
            tries += 1
            roster.remove(add(roster, 0, State.BOOTING))
            roster.backoff(0).died(None, now)
        now += 0.05
    assert roster.in_state(State.READY) == roster.handles
    assert tries < 12


def test_a_worker_that_is_to_go_and_dies_is_replaced_as_any_other() -> None:
    roster = full(1)
    roster.handles[0].retiring = "max-rss"
    roster.remove(roster.handles[0])
    assert plan(roster, 0.0) == [Spawn(0, 1)]


def test_a_worker_that_is_to_go_and_stalls_drains_when_its_replacement_is_ready() -> None:
    roster = full(1)
    old = roster.handles[0]
    old.retiring = "max-rss"
    old.apply(Event.BEAT_LATE)
    assert plan(roster, 0.0) == [Spawn(0, 1)]
    add(roster, 0)
    assert plan(roster, 0.0) == [Retire(old, "max-rss")]


def test_a_replacement_that_is_to_go_too_is_replaced_in_its_turn() -> None:
    roster = full(1)
    roster.handles[0].retiring = "retire"
    new = add(roster, 0)
    new.retiring = "max-requests"  # before anybody looked
    assert plan(roster, 0.0) == [Retire(roster.handles[0], "retire")]
    roster.handles[0].apply(Event.RETIRED)
    assert plan(roster, 0.0) == [Spawn(0, 1)]


def test_scaling_down_takes_a_worker_that_is_to_go_with_its_replacement() -> None:
    roster = full(2)
    old = roster.handles[1]
    old.retiring = "max-rss"
    new = add(roster, 1, State.BOOTING)
    roster.wanted = 1
    assert plan(roster, 0.0) == [Retire(old, "scale-down"), Retire(new, "scale-down")]


# -- whatever happens

OCCURRENCES = st.lists(
    st.tuples(
        st.sampled_from(
            ["retire", "retire", "reload", "more", "fewer", "ready", "exit", "stall", "recover", "fails", "wait"]
        ),
        st.integers(0, 100),
    ),
    max_size=60,
)


class Run:
    """A roster to which things happen, and whose plan is carried out after each of them."""

    def __init__(self, wanted: int) -> None:
        self.roster = Roster(wanted)
        self.now = 0.0
        self.act()

    def act(self) -> None:
        for _ in range(20):
            served = self.served()
            steps = plan(self.roster, self.now)
            for step in steps:
                match step:
                    case Spawn(slot, generation):
                        self.roster.add(slot, generation, self.now)
                    case Retire(handle, reason):
                        assert reason
                        handle.apply(Event.RETIRED)
            assert self.served() == served
            if not steps:
                break
        else:
            raise AssertionError("the plan has no end")
        held = [len([h for h in self.roster.of_slot(slot) if h.active]) for slot in range(self.roster.wanted)]
        assert max(held) <= 2

    def served(self) -> set[int]:
        """The wanted slots that have a worker that is ready."""
        return {handle.slot for handle in self.roster.in_state(State.READY) if handle.slot < self.roster.wanted}

    def happen(self, what: str, choice: int) -> None:
        roster = self.roster
        ready, booting, alive = roster.in_state(State.READY), roster.in_state(State.BOOTING), list(roster)
        stalled = roster.in_state(State.STALLED)
        match what:
            case "retire" if ready:
                chosen = ready[choice % len(ready)]
                chosen.retiring = chosen.retiring or "max-requests"
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
            case "stall" if ready:
                ready[choice % len(ready)].apply(Event.BEAT_LATE)
            case "recover" if stalled:
                stalled[choice % len(stalled)].apply(Event.BEAT_AGAIN)
            case "fails" if booting:
                failed = booting[choice % len(booting)]
                roster.remove(failed)
                roster.backoff(failed.slot).died(None, self.now)
            case "wait":
                self.now += 40.0
        self.act()


@given(OCCURRENCES, st.integers(1, 4))
def test_whatever_happens_every_slot_ends_with_one_fresh_worker(events: list[tuple[str, int]], wanted: int) -> None:
    run = Run(wanted)
    for what, choice in events:
        run.happen(what, choice)
    for _ in range(6 * (run.roster.wanted + 2)):
        run.now += 40.0
        run.act()
        for handle in run.roster.in_state(State.BOOTING):
            handle.apply(Event.REPORTED_READY)
        for handle in run.roster.in_state(State.STALLED):
            handle.apply(Event.BEAT_AGAIN)
        for handle in run.roster.in_state(State.DRAINING):
            run.roster.remove(handle)
    assert plan(run.roster, run.now) == []
    assert run.roster.complete
    assert run.roster.settled
    assert [handle.slot for handle in sorted(run.roster, key=lambda h: h.slot)] == list(range(run.roster.wanted))
    assert not any(handle.retiring for handle in run.roster)


@given(st.sets(st.integers(0, 4)), st.lists(st.booleans(), min_size=30, max_size=30), st.booleans())
def test_replacing_never_lowers_the_number_of_ready_workers_and_is_done_one_at_a_time(
    slots: set[int], boots: list[bool], reload: bool
) -> None:
    roster = full(5)
    for slot in slots:
        roster.handles[slot].retiring = "max-requests"
    roster.generation += reload
    now = 0.0
    for boot in [*boots, *[True] * 12]:
        now += 40.0
        for step in plan(roster, now):
            if isinstance(step, Spawn):
                roster.add(step.slot, step.generation, now)
            else:
                step.handle.apply(Event.RETIRED)
        assert len(roster.in_state(State.READY)) >= 5
        booting = roster.in_state(State.BOOTING)
        assert len(booting) <= 1
        for handle in booting:
            if boot:
                handle.apply(Event.REPORTED_READY)
            else:
                roster.remove(handle)
                roster.backoff(handle.slot).died(None, now)
    assert plan(roster, now + 40.0) == []
    assert not any(handle.retiring for handle in roster if handle.active)
    assert roster.settled
