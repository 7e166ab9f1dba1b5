"""Declare metrics. Each name once a process: who declares it again, in the same words, gets the same metric."""

from collections.abc import Iterable
from typing import Any, TypeVar

from prefork.metrics.kinds import SECONDS, Declaration, Kind, check
from prefork.metrics.series import (
    Counter,
    CounterSeries,
    Gauge,
    GaugeSeries,
    Histogram,
    HistogramSeries,
    Metric,
)

_declared: dict[str, Metric[Any]] = {}

M = TypeVar("M", bound=Metric[Any])


def counter(name: str, help: str, labels: Iterable[str] = ()) -> Counter:
    """A counter. Raises ValueError for a bad name or label, and when the name stands for something else."""
    return _add(Counter(Declaration(Kind.COUNTER, name, help, _names(labels)), CounterSeries), ours=False)


def gauge(name: str, help: str, labels: Iterable[str] = (), across: str = "sum") -> Gauge:
    """A gauge. `across` tells how those of several processes become one: sum, max or min. Raises as `counter` does."""
    return _add(Gauge(Declaration(Kind.GAUGE, name, help, _names(labels), (), across), GaugeSeries), ours=False)


def histogram(name: str, help: str, labels: Iterable[str] = (), buckets: Iterable[float] = SECONDS) -> Histogram:
    """A histogram. `buckets` are upper bounds; the default suits seconds. Raises as `counter` does."""
    declaration = Declaration(Kind.HISTOGRAM, name, help, _names(labels), tuple(map(float, buckets)))
    return _add(Histogram(declaration, HistogramSeries), ours=False)


def our_counter(name: str, help: str, labels: Iterable[str] = ()) -> Counter:
    """As `counter`, for the server's own, which begin with prefork_."""
    return _add(Counter(Declaration(Kind.COUNTER, name, help, _names(labels)), CounterSeries), ours=True)


def our_gauge(name: str, help: str, labels: Iterable[str] = (), across: str = "sum") -> Gauge:
    """As `gauge`, for the server's own."""
    return _add(Gauge(Declaration(Kind.GAUGE, name, help, _names(labels), (), across), GaugeSeries), ours=True)


def our_histogram(name: str, help: str, labels: Iterable[str] = (), buckets: Iterable[float] = SECONDS) -> Histogram:
    """As `histogram`, for the server's own."""
    declaration = Declaration(Kind.HISTOGRAM, name, help, _names(labels), tuple(map(float, buckets)))
    return _add(Histogram(declaration, HistogramSeries), ours=True)


def _names(labels: Iterable[str]) -> tuple[str, ...]:
    if isinstance(labels, str):
        raise ValueError(f"labels are a list of names, such as [{labels!r}]")
    return tuple(labels)


def _add(metric: M, ours: bool) -> M:
    declaration = metric.declaration
    check(declaration, ours)
    found = _declared.get(declaration.name)
    if found is None:
        _declared[declaration.name] = metric
        return metric
    if found.declaration != declaration or type(found) is not type(metric):
        raise ValueError(f"metric {declaration.name} is declared already, as {found.declaration}")
    return found
