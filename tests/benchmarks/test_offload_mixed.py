"""Heavy clients of the mixed load count what they saw."""

from benchmarks.offload_mixed import Heavy


def test_heavy_answers_are_counted_by_status_within_the_measured_time_only() -> None:
    heavy = Heavy([(0.9, 200), (1.0, 200), (1.5, 503), (1.6, None), (1.7, 500), (1.9, 200), (2.0, 200)])
    assert heavy.count(1.0, 2.0) == (2, 1, 2)
