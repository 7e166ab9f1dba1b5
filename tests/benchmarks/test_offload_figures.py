"""Every job of a pool is accounted for."""

from benchmarks.offload_figures import CRASH_JOBS, CRASHING, Jobs, tally, worst


def line(crashing: bool, outcome: str) -> dict[str, object]:
    return {"crashing": crashing, "outcome": outcome}


FAULTLESS = Jobs(right=CRASH_JOBS - CRASHING, named=CRASHING, struck=0, other=0, unanswered=0)


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
