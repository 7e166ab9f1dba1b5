"""A canary: how many workers it gets, its exact share of connections, and when it is promoted or rolled back."""

from collections import Counter
from dataclasses import dataclass
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.core.balancing import BALANCES, LeastConnections, RoundRobin, Split
from prefork.core.canary import (
    ENOUGH,
    LATENCY_FACTOR,
    LATENCY_SECONDS,
    Tally,
    chance,
    judge,
    old_as,
    percentile,
    plainly_worse,
    plan,
)
from prefork.core.lifecycle import Event, State
from prefork.core.plan import Retire, Spawn
from prefork.core.roster import Canary, Roster
from tests.core.roster import add, full

BOUNDS = (0.01, 0.1, 1.0)
FAST, MIDDLE, SLOW = range(3)  # buckets


@dataclass
class Worker:
    slot: int
    generation: int
    load: int = 0


OLD = [Worker(slot, 1) for slot in range(4)]
NEW = [Worker(slot, 2) for slot in range(2)]


def tally(good: int = 0, bad: int = 0, bucket: int = FAST, route: str = "/", lost: int = 0) -> Tally:
    """Requests that took what that bucket holds."""
    made = Tally(lost=lost)
    for status, count in (("2xx", good), ("5xx", bad)):
        numbers = [0.0] * (len(BOUNDS) + 2)
        numbers[bucket] = count
        numbers[-1] = count * BOUNDS[bucket]
        made.add(("GET", status, route), numbers)
    return made


def together(*tallies: Tally) -> Tally:
    made = Tally()
    for one in tallies:
        for key, numbers in one.series.items():
            made.add(key, numbers)
    return made


# -- workers


def on_trial(wanted: int, share: float) -> Roster:
    roster = full(wanted)
    roster.canary = Canary(2, share)
    return roster


@pytest.mark.parametrize(
    ("share", "wanted", "workers"),
    [(0.1, 1, 1), (0.1, 4, 1), (0.1, 10, 1), (0.1, 11, 2), (0.25, 4, 1), (0.26, 4, 2), (0.29, 100, 29), (0.9, 2, 2)],
)
def test_a_canary_has_its_share_of_the_workers_rounded_up(share: float, wanted: int, workers: int) -> None:
    assert Canary(2, share).workers(wanted) == workers


def test_canary_workers_come_beside_the_old_ones() -> None:
    roster = on_trial(4, 0.5)
    assert plan(roster, 0.0) == [Spawn(0, 2), Spawn(1, 2)]
    for slot in (0, 1):
        add(roster, slot, State.READY, generation=2)
    assert plan(roster, 0.0) == []


def test_an_old_worker_that_dies_beside_a_canary_is_replaced_by_old_code() -> None:
    roster = on_trial(2, 0.1)
    add(roster, 0, State.READY, generation=2)
    roster.remove(roster.handles[0])
    assert plan(roster, 0.0) == [Spawn(0, 1)]


def test_a_canary_worker_that_has_done_enough_is_replaced_by_new_code() -> None:
    roster = on_trial(2, 0.1)
    first = add(roster, 0, State.READY, generation=2)
    first.retiring = "max-requests"
    assert plan(roster, 0.0) == [Spawn(0, 2)]
    add(roster, 0, State.READY, generation=2)
    assert plan(roster, 0.0) == [Retire(first, "max-requests")]


def test_a_canary_grows_and_shrinks_with_the_server() -> None:
    roster = on_trial(2, 0.5)
    add(roster, 0, State.READY, generation=2)
    roster.wanted = 4
    assert plan(roster, 0.0) == [Spawn(2, 1), Spawn(3, 1), Spawn(1, 2)]
    surplus = add(roster, 1, State.READY, generation=2)
    roster.wanted = 2
    assert plan(roster, 0.0) == [Retire(surplus, "scale-down")]


def test_a_promoted_canary_takes_the_place_of_the_old_worker_of_its_slot_and_the_rest_follows() -> None:
    roster = on_trial(2, 0.1)
    old = roster.handles[0]
    add(roster, 0, State.READY, generation=2)
    roster.canary, roster.generation = None, 2
    assert plan(roster, 0.0) == [Retire(old, "reload")]
    old.apply(Event.RETIRED)
    assert plan(roster, 0.0) == [Spawn(1, 2)]


def test_a_promoted_canary_stays_where_the_old_worker_came_after_it() -> None:
    roster = on_trial(2, 0.1)
    add(roster, 0, State.READY, generation=2)
    roster.remove(roster.handles[0])
    respawned = add(roster, 0, generation=1)
    roster.canary, roster.generation = None, 2
    assert plan(roster, 0.0) == [Retire(respawned, "reload")]


def test_both_generations_are_wanted_while_there_is_a_canary() -> None:
    roster = on_trial(2, 0.1)
    add(roster, 0, State.READY, generation=2)
    assert roster.wanted_generations == {1, 2}
    assert roster.settled
    roster.canary = None
    assert roster.wanted_generations == {1}
    assert not roster.settled


# -- shares


def hand_out(split: Split, connections: int, takers: list[Worker] | None = None, new: bool = True) -> Counter[int]:
    """The connections that each generation got."""
    found: Counter[int] = Counter()
    for _ in range(connections):
        chosen = split.choose([*OLD, *NEW] if takers is None else takers, new)
        assert chosen is not None
        found[chosen.generation] += 1
    return found


@pytest.mark.parametrize(("share", "count", "given"), [(0.1, 100, 10), (0.01, 100, 1), (0.29, 100, 29), (0.5, 7, 4)])
def test_a_share_of_so_many_connections_is_exactly_that(share: float, count: int, given: int) -> None:
    assert hand_out(Split(2, share, RoundRobin), count)[2] == given


@given(st.decimals("0.0001", "0.9999", places=4), st.integers(0, 300), st.integers(0, 300))
def test_any_connections_in_a_row_are_split_by_the_share(share: float, before: int, count: int) -> None:
    split = Split(2, float(share), RoundRobin)
    hand_out(split, before)
    given = hand_out(split, count)[2]
    assert abs(given - count * float(share)) < 1


@given(st.decimals("0.0001", "0.9999", places=4), st.integers(1, 300))
def test_counts_from_the_start_are_the_share_rounded(share: float, count: int) -> None:
    split = Split(2, float(share), RoundRobin)
    given = hand_out(split, count)[2]
    assert abs(given - count * float(share)) <= 0.5 + 1e-9
    assert (split.given, split.new) == (given, count)


@pytest.mark.parametrize("balance", [RoundRobin, LeastConnections])
def test_each_generation_spreads_its_connections_over_its_workers(balance: type[RoundRobin | LeastConnections]) -> None:
    takers = [Worker(slot, 1) for slot in range(3)] + [Worker(slot, 2) for slot in range(2)]
    split = Split(2, 0.4, balance)
    for _ in range(50):
        chosen = split.choose(takers, True)
        assert chosen is not None
        chosen.load += 1
    assert [taker.load for taker in takers] == [10, 10, 10, 10, 10]


def test_connections_that_come_back_go_to_the_old_generation_and_do_not_count() -> None:
    split = Split(2, 0.5, RoundRobin)
    hand_out(split, 3)
    assert hand_out(split, 10, new=False) == {1: 10}
    assert (hand_out(split, 97)[2], split.new) == (48, 100)


def test_what_a_canary_cannot_take_the_old_ones_do_and_its_turn_is_over() -> None:
    split = Split(2, 0.5, RoundRobin)
    assert hand_out(split, 20, OLD) == {1: 20}
    assert hand_out(split, 20) == {1: 10, 2: 10}  # nothing is made up for
    assert (split.given, split.new) == (10, 40)


def test_what_the_old_ones_cannot_take_a_canary_does() -> None:
    split = Split(2, 0.1, RoundRobin)
    assert hand_out(split, 5, NEW) == {2: 5}
    assert hand_out(split, 5, NEW, new=False) == {2: 5}


def test_when_nobody_may_take_a_connection_no_turn_passes() -> None:
    split = Split(2, 0.5, RoundRobin)
    for _ in range(7):
        assert split.choose([], True) is None
    assert hand_out(split, 10)[2] == 5


def test_a_generation_without_a_share_gets_nothing() -> None:
    assert hand_out(Split(2, 0.0, BALANCES["round-robin"]), 1000) == {1: 1000}


# -- the verdict


def test_a_canary_as_good_as_the_old_generation_is_promoted() -> None:
    verdict = judge(tally(900, 9), tally(100, 1), BOUNDS)
    assert (verdict.promoted, verdict.reason) == (True, "no worse")
    assert (verdict.old.requests, verdict.old.errors, verdict.new.requests, verdict.new.errors) == (909, 9, 101, 1)


def test_a_better_one_is_promoted() -> None:
    assert judge(tally(900, 500, SLOW), tally(100, 0, FAST), BOUNDS).promoted


@pytest.mark.parametrize(
    ("old", "new", "who"),
    [(tally(ENOUGH), tally(ENOUGH - 1), "new"), (tally(ENOUGH - 1), tally(ENOUGH), "old"), (Tally(), Tally(), "new")],
)
def test_with_too_few_requests_nothing_is_promoted(old: Tally, new: Tally, who: str) -> None:
    verdict = judge(old, new, BOUNDS)
    assert not verdict.promoted
    assert verdict.reason.startswith(f"too few requests to judge: the {who} generation had ")


def test_as_many_requests_as_are_needed_are_judged() -> None:
    assert judge(tally(ENOUGH), tally(ENOUGH), BOUNDS).promoted


def test_an_error_that_may_be_chance_does_not_roll_back_and_one_that_cannot_does() -> None:
    assert judge(tally(900), tally(99, 1), BOUNDS).promoted  # one error falls to the tenth one time in ten
    verdict = judge(tally(900), tally(97, 3), BOUNDS)  # three do so one time in a thousand
    assert (verdict.promoted, verdict.reason) == (False, "more errors")


def test_requests_that_died_with_a_worker_are_errors() -> None:
    assert judge(tally(900), tally(97, lost=3), BOUNDS).reason == "more errors"


def test_a_difference_too_small_to_matter_does_not_roll_back_however_sure_it_is() -> None:
    assert judge(tally(10_000_000, 100_000), tally(1_000_000, 10_900), BOUNDS).promoted
    assert not judge(tally(10_000_000, 100_000), tally(1_000_000, 11_300), BOUNDS).promoted


def test_a_slower_one_is_rolled_back() -> None:
    verdict = judge(tally(900, bucket=FAST), tally(100, bucket=MIDDLE), BOUNDS)
    assert (verdict.promoted, verdict.reason) == (False, "slower")
    assert verdict.new.p90 > verdict.old.p90 * LATENCY_FACTOR + LATENCY_SECONDS


def test_a_few_slow_requests_are_no_slower_generation_and_more_than_a_tenth_are() -> None:
    old = tally(900)
    assert judge(old, together(tally(95), tally(5, bucket=SLOW)), BOUNDS).promoted
    assert judge(old, together(tally(85), tally(15, bucket=SLOW)), BOUNDS).reason == "slower"


def test_requests_that_never_end_make_a_generation_slower() -> None:
    new = tally(100)
    new.ages = [0.9] * 5
    assert judge(tally(900), new, BOUNDS).promoted
    new.ages = [0.9] * 20
    assert judge(tally(900), new, BOUNDS).reason == "slower"


def test_a_canary_that_was_asked_for_other_pages_is_compared_on_those() -> None:
    old = together(tally(9000, route="/quick"), tally(100, bucket=SLOW, route="/slow"))
    new = together(tally(10, route="/quick"), tally(90, bucket=SLOW, route="/slow"))
    assert judge(old, new, BOUNDS).promoted
    assert judge(old, tally(100, bucket=SLOW, route="/quick"), BOUNDS).reason == "slower"


def test_a_canary_with_routes_that_nobody_had_is_compared_with_all() -> None:
    assert old_as(tally(10, route="/old"), tally(10, route="/new")).series == tally(10, route="/old").series


def test_only_what_is_no_chance_ends_a_canary_before_its_time() -> None:
    assert plainly_worse(tally(900), tally(100), BOUNDS) is None
    assert plainly_worse(tally(900), tally(97, 3), BOUNDS) is None
    verdict = plainly_worse(tally(45), tally(0, 5), BOUNDS)
    assert verdict is not None
    assert (verdict.promoted, verdict.reason) == (False, "plainly more errors")
    assert plainly_worse(tally(45), tally(0, 3), BOUNDS) is None
    assert plainly_worse(Tally(), tally(0, 1000), BOUNDS) is None  # nothing to compare with


def test_one_that_fails_as_the_old_one_does_goes_on() -> None:
    assert plainly_worse(tally(0, 900), tally(0, 100), BOUNDS) is None


def test_percentiles_lie_within_their_bucket() -> None:
    assert percentile([10, 0, 0, 0], BOUNDS, 0.5) == pytest.approx(0.005)
    assert percentile([5, 5, 0, 0], BOUNDS, 0.9) == pytest.approx(0.082)
    assert percentile([0, 0, 0, 9], BOUNDS, 0.9) == 1.0
    assert percentile([0, 0, 0, 0], BOUNDS, 0.9) == 0.0


@given(st.lists(st.integers(0, 50), min_size=4, max_size=4), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_a_higher_percentile_is_no_less(counts: list[int], one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert percentile(counts, BOUNDS, low) <= percentile(counts, BOUNDS, high) + 1e-12 <= BOUNDS[-1] + 1e-12


@given(st.integers(0, 40), st.integers(0, 40), st.floats(0.05, 0.95))
def test_chance_is_the_tail_of_the_binomial_distribution(errors: int, others: int, share: float) -> None:
    of_all = errors + others
    tail = sum(comb(of_all, n) * share**n * (1 - share) ** (of_all - n) for n in range(errors, of_all + 1))
    assert chance(errors, of_all, share) == pytest.approx(tail if errors > of_all * share else 1.0, rel=1e-6)


def test_chance_of_many_errors_is_told_without_counting_them_one_by_one() -> None:
    assert chance(1_000_000, 10_000_000, 0.1) == 1.0
    assert 0 < chance(1_001_000, 10_000_000, 0.1) < 0.5
    assert chance(10_000_000, 10_000_000, 0.1) == 0.0
