"""How long a slot waits after its worker died, by how long that worker lived."""

import pytest

from prefork.core.backoff import FIRST_SECONDS, HEALTHY_SECONDS, LONGEST_SECONDS, YOUNG_SECONDS, Backoff


def test_delays_double_from_a_tenth_of_a_second_to_half_a_minute() -> None:
    backoff = Backoff()
    delays = [backoff.died(None, now=0.0) for _ in range(12)]
    assert delays == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30, 30])


def test_a_crash_loop_of_any_length_waits_no_longer_than_the_longest_delay() -> None:
    backoff = Backoff()
    assert {backoff.died(None, now=0.0) for _ in range(5000)} >= {LONGEST_SECONDS}
    assert backoff.died(None, now=0.0) == LONGEST_SECONDS


@pytest.mark.parametrize(
    ("lived", "delay"),
    [(None, FIRST_SECONDS), (0.0, FIRST_SECONDS), (YOUNG_SECONDS - 0.001, FIRST_SECONDS), (YOUNG_SECONDS, 0.0)],
)
def test_only_a_worker_that_died_young_delays_the_next(lived: float | None, delay: float) -> None:
    backoff = Backoff()
    assert backoff.died(lived, now=100.0) == delay
    assert backoff.not_before == 100.0 + delay


@pytest.mark.parametrize(
    ("lived", "next_delay"), [(YOUNG_SECONDS, 0.4), (HEALTHY_SECONDS - 0.001, 0.4), (HEALTHY_SECONDS, FIRST_SECONDS)]
)
def test_a_minute_of_health_clears_the_failures_and_less_does_not(lived: float, next_delay: float) -> None:
    backoff = Backoff()
    backoff.died(None, now=0.0)
    backoff.died(None, now=1.0)
    assert backoff.died(lived, now=2.0) == 0.0
    assert backoff.died(None, now=3.0) == pytest.approx(next_delay)
