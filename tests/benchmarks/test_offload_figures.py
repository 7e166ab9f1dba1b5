"""Pools are compared within a round, a peer by its better way; every job is accounted for."""

from operator import sub, truediv

from benchmarks.offload_figures import CRASH_JOBS, CRASHING, Jobs, Sample, paired, tally, worst

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


def line(crashing: bool, outcome: str) -> dict[str, object]:
    return {"crashing": crashing, "outcome": outcome}


FAULTLESS = Jobs(right=CRASH_JOBS - CRASHING, named=CRASHING, struck=0, other=0, unanswered=0)


def test_a_ratio_is_the_median_of_each_rounds_own_against_the_better_way() -> None:
    assert paired(DRIFTING, "prefork", PPE, min, truediv) == 0.25


def test_the_better_way_is_the_higher_one_where_more_is_better() -> None:
    assert paired(DRIFTING[:3], "prefork", PPE, max, truediv) == 0.2


def test_a_difference_is_paired_in_the_same_way() -> None:
    assert paired(DRIFTING, "prefork", PPE, min, sub) == -300


def test_a_round_that_one_of_both_missed_is_no_pair() -> None:
    assert paired([*DRIFTING[:3], Sample("prefork", 4, 1)], "prefork", PPE, min, truediv) == 0.25
    assert paired([Sample("prefork", 1, 1), Sample("ppe", 2, 1)], "prefork", PPE, min, truediv) is None


def test_a_pool_that_loses_only_the_crashing_jobs_is_faultless() -> None:
    lines = [line(False, "right")] * (CRASH_JOBS - CRASHING) + [line(True, "crash")] * CRASHING
    assert tally(lines) == FAULTLESS


def test_a_crash_that_strikes_other_jobs_is_counted_apart() -> None:
    lines = [line(False, "right"), line(True, "crash"), line(False, "crash"), line(False, "crash")]
    assert tally(lines) == Jobs(right=1, named=1, struck=2, other=0, unanswered=CRASH_JOBS - 4)


def test_a_wrong_answer_and_an_answer_to_a_job_that_died_are_other_errors() -> None:
    found = tally([line(False, "other"), line(True, "other"), line(True, "right")])
    assert (found.right, found.named, found.other) == (0, 0, 3)


def test_a_program_that_died_at_once_answered_nothing() -> None:
    assert tally([]).unanswered == CRASH_JOBS


def test_the_worst_round_is_the_one_that_counts() -> None:
    bad = Jobs(right=989, named=9, struck=1, other=0, unanswered=1)
    assert worst([("pebble", FAULTLESS), ("pebble", bad), ("ppe", tally([]))], "pebble") == bad
    assert worst([("ppe", bad)], "pebble") is None
