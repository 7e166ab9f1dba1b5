"""Figures are compared within a round, a peer by its better way."""

from operator import sub, truediv

from benchmarks.rounds import Sample, paired

PPE = ("ppe", "ppe-direct")
DRIFTING = [  # the machine is half as fast in round 2, and another way is the better one there
    Sample("prefork", 1, 100),
    Sample("ppe", 1, 500),
    Sample("ppe-direct", 1, 400),
    Sample("prefork", 2, 200),
    Sample("ppe", 2, 800),
    Sample("ppe-direct", 2, 1000),
    Sample("prefork", 3, 150),
    Sample("ppe", 3, 300),
]


def test_a_ratio_is_the_median_of_each_rounds_own_against_the_better_way() -> None:
    assert paired(DRIFTING, "prefork", PPE, min, truediv) == 0.25


def test_the_better_way_is_the_higher_one_where_more_is_better() -> None:
    assert paired(DRIFTING[:3], "prefork", PPE, max, truediv) == 0.2


def test_a_difference_is_paired_in_the_same_way() -> None:
    assert paired(DRIFTING, "prefork", PPE, min, sub) == -300


def test_a_round_that_one_of_both_missed_is_no_pair() -> None:
    assert paired([*DRIFTING[:3], Sample("prefork", 4, 1)], "prefork", PPE, min, truediv) == 0.25
    assert paired([Sample("prefork", 1, 1), Sample("ppe", 2, 1)], "prefork", PPE, min, truediv) is None
