"""Who gets the next connection: exact turns, exact ties."""

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.core.balancing import BALANCES, Kernel, LeastConnections, RoundRobin


@dataclass
class Worker:
    slot: int
    load: int = 0


def workers(*loads: int) -> list[Worker]:
    return [Worker(slot, load) for slot, load in enumerate(loads)]


def slots(balance: RoundRobin | LeastConnections, takers: list[Worker], times: int) -> list[int]:
    """The slots chosen, each loaded with what it was given."""
    found = []
    for _ in range(times):
        chosen = balance.choose(takers)
        assert chosen is not None
        chosen.load += 1
        found.append(chosen.slot)
    return found


def test_round_robin_goes_strictly_in_turn() -> None:
    assert slots(RoundRobin(), workers(0, 9, 0), 7) == [0, 1, 2, 0, 1, 2, 0]


def test_round_robin_over_four_workers_is_exact() -> None:
    counts = Counter(slots(RoundRobin(), workers(0, 0, 0, 0), 1000))
    assert max(counts.values()) - min(counts.values()) == 0


def test_round_robin_skips_who_may_not_take_and_keeps_its_turn() -> None:
    balance, all_four = RoundRobin(), workers(0, 0, 0, 0)
    assert slots(balance, all_four, 2) == [0, 1]
    assert slots(balance, [all_four[0], all_four[3]], 2) == [3, 0]
    assert slots(balance, all_four, 2) == [1, 2]


def test_round_robin_goes_on_after_its_last_worker_left() -> None:
    balance = RoundRobin()
    slots(balance, workers(0, 0, 0), 3)
    assert slots(balance, workers(0, 0), 2) == [0, 1]


def test_least_connections_takes_the_one_with_the_fewest() -> None:
    assert slots(LeastConnections(), workers(2, 0, 1), 3) == [1, 2, 1]


def test_least_connections_breaks_ties_in_turn() -> None:
    assert slots(LeastConnections(), workers(0, 0, 0), 6) == [0, 1, 2, 0, 1, 2]


def test_least_connections_ties_go_on_behind_the_last_chosen() -> None:
    balance, takers = LeastConnections(), workers(0, 0, 0)
    assert slots(balance, takers, 1) == [0]
    takers[0].load = 0  # its connection closed at once: still its neighbours' turn
    assert slots(balance, takers, 2) == [1, 2]


@given(st.lists(st.integers(0, 20), min_size=1, max_size=6), st.integers(1, 60))
def test_least_connections_never_chooses_a_worker_while_another_has_fewer(loads: list[int], times: int) -> None:
    balance, takers = LeastConnections(), workers(*loads)
    for _ in range(times):
        chosen = balance.choose(takers)
        assert chosen is not None
        assert chosen.load == min(taker.load for taker in takers)
        chosen.load += 1


@pytest.mark.parametrize("name", BALANCES)
def test_nobody_is_chosen_when_nobody_may_take(name: str) -> None:
    balance = BALANCES[name]()
    assert balance.choose([]) is None
    assert slots(balance, workers(0, 0), 2) == [0, 1]


def test_only_with_the_kernels_balance_workers_accept_by_themselves() -> None:
    assert {name for name, balance in BALANCES.items() if balance.workers_accept} == {"kernel"}
    assert slots(Kernel(), workers(0, 0), 3) == [0, 1, 0]  # what was handed back goes in turn
