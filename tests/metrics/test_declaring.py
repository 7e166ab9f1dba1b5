"""Metrics are declared once, and what cannot be one is refused in one line."""

import re
from collections.abc import Callable
from math import inf, nan

import pytest

from prefork import metrics
from prefork.metrics.kinds import MOST_BUCKETS, MOST_LABELS


def test_who_declares_it_again_gets_the_same() -> None:
    first = metrics.counter("twice", "Twice.", ["a"])
    assert metrics.counter("twice", "Twice.", ("a",)) is first
    for other in (
        lambda: metrics.counter("twice", "Thrice.", ["a"]),
        lambda: metrics.counter("twice", "Twice.", ["b"]),
        lambda: metrics.gauge("twice", "Twice.", ["a"]),
    ):
        with pytest.raises(ValueError, match="metric twice is declared already, as"):
            other()


def test_inf_as_the_last_bucket_goes_without_saying() -> None:
    assert metrics.histogram("to_inf", "To inf.", buckets=(1, 2, inf)).declaration.buckets == (1.0, 2.0)


@pytest.mark.parametrize(
    ("declare", "words"),
    [
        (lambda: metrics.counter("2nd", ""), "'2nd' is no name of a metric"),
        (lambda: metrics.counter("a-b", ""), "'a-b' is no name of a metric"),
        (lambda: metrics.counter("a:b", ""), "'a:b' is no name of a metric"),
        (lambda: metrics.counter("", ""), "'' is no name of a metric"),
        (lambda: metrics.counter(7, ""), "7 is no name of a metric"),  # type: ignore[arg-type]
        (lambda: metrics.counter("_total", ""), "a name is more than _total"),
        (lambda: metrics.gauge("x_total", ""), "names that end with _total are those of counters"),
        (lambda: metrics.counter("prefork_x", ""), "names that begin with prefork_ are prefork's own"),
        (lambda: metrics.counter("x", "x" * 501), "the help is a text of at most 500 characters"),
        (lambda: metrics.counter("x", None), "the help is a text"),  # type: ignore[arg-type]
        (lambda: metrics.counter("x", "", "label"), "labels are a list of names, such as ['label']"),
        (lambda: metrics.counter("x", "", ["a", "a"]), "two labels have the same name"),
        (lambda: metrics.counter("x", "", ["le"]), "'le' cannot be a label"),
        (lambda: metrics.counter("x", "", ["__a"]), "'__a' cannot be a label"),
        (lambda: metrics.counter("x", "", [1]), "1 cannot be a label"),  # type: ignore[list-item]
        (lambda: metrics.counter("x", "", [f"l{n}" for n in range(MOST_LABELS + 1)]), "more than 16 labels"),
        (lambda: metrics.histogram("x", "", buckets=()), "buckets are numbers that ascend, at least one"),
        (lambda: metrics.histogram("x", "", buckets=(2, 1)), "buckets are numbers that ascend"),
        (lambda: metrics.histogram("x", "", buckets=(1, nan)), "buckets are numbers that ascend"),
        (lambda: metrics.histogram("x", "", buckets=range(MOST_BUCKETS + 1)), "more than 100 buckets"),
        (lambda: metrics.gauge("x", "", across="mean"), "across is sum, max or min"),
    ],
)
def test_what_cannot_be_a_metric_is_refused(declare: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        declare()


def test_as_many_labels_and_buckets_as_there_may_be() -> None:
    metrics.counter("most_labels", "", [f"l{n}" for n in range(MOST_LABELS)])
    metrics.histogram("most_buckets", "", buckets=range(MOST_BUCKETS))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (lambda: metrics.counter("clash1", ""), lambda: metrics.counter("clash1_total", "")),
        (lambda: metrics.histogram("clash2", ""), lambda: metrics.counter("clash2_count", "")),
        (lambda: metrics.gauge("clash3_sum", ""), lambda: metrics.histogram("clash3", "")),
        (lambda: metrics.gauge("clash4", ""), lambda: metrics.counter("clash4_total", "")),
    ],
)
def test_two_metrics_do_not_take_one_name(first: Callable[[], object], second: Callable[[], object]) -> None:
    first()
    with pytest.raises(ValueError, match="takes the name clash"):
        second()
