"""Declare metrics. Each name once a process: who declares it again, in the same words, gets the same metric."""

from collections.abc import Iterable
from typing import Any, TypeVar

from prefork.metrics import counting
from prefork.metrics.kinds import OURS, SECONDS, Declaration, Kind, check, upper_bounds
from prefork.metrics.series import Counter, Gauge, Histogram, Metric

_declared: dict[str, Metric[Any]] = {}  # by name
_samples: dict[str, str] = {}  # which metric takes which name where it is read

M = TypeVar("M", bound=Metric[Any])


def counter(name: str, help: str, labels: Iterable[str] = ()) -> Counter:
    """A counter. Its name may end with _total; where it is read it does. Raises ValueError for a bad name or label, and
    when the name stands for something else."""
    return _add(Counter, Declaration(Kind.COUNTER, name, help, _names(labels)), ours=False)


def gauge(name: str, help: str, labels: Iterable[str] = (), across: str = "sum") -> Gauge:
    """A gauge. `across` tells how those of several processes become one: sum, max or min. Raises as `counter` does."""
    return _add(Gauge, Declaration(Kind.GAUGE, name, help, _names(labels), (), across), ours=False)


def histogram(name: str, help: str, labels: Iterable[str] = (), buckets: Iterable[float] = SECONDS) -> Histogram:
    """A histogram. `buckets` are upper bounds; the default suits seconds. Raises as `counter` does."""
    return _add(Histogram, Declaration(Kind.HISTOGRAM, name, help, _names(labels), upper_bounds(buckets)), ours=False)


def our_counter(name: str, help: str, labels: Iterable[str] = ()) -> Counter:
    """As `counter`, for the server's own, which begin with prefork_."""
    return _add(Counter, Declaration(Kind.COUNTER, name, help, _names(labels)), ours=True)


def our_gauge(name: str, help: str, labels: Iterable[str] = (), across: str = "sum") -> Gauge:
    """As `gauge`, for the server's own."""
    return _add(Gauge, Declaration(Kind.GAUGE, name, help, _names(labels), (), across), ours=True)


def our_histogram(name: str, help: str, labels: Iterable[str] = (), buckets: Iterable[float] = SECONDS) -> Histogram:
    """As `histogram`, for the server's own."""
    return _add(Histogram, Declaration(Kind.HISTOGRAM, name, help, _names(labels), tuple(buckets)), ours=True)


def our_declarations() -> list[Declaration]:
    """The server's own, in the order they were declared."""
    return [metric.declaration for name, metric in _declared.items() if name.startswith(OURS)]


def _names(labels: Iterable[str]) -> tuple[str, ...]:
    if isinstance(labels, str):
        raise ValueError(f"labels are a list of names, such as [{labels!r}]")
    return tuple(labels)


def _add(kind: type[M], declaration: Declaration, ours: bool) -> M:
    check(declaration, ours)
    with counting.lock:
        found = _declared.get(declaration.name)
        if found is not None:
            if found.declaration != declaration or not isinstance(found, kind):
                raise ValueError(f"metric {declaration.name} is declared already, as {found.declaration}")
            return found
        for sample in declaration.samples:
            if sample in _samples:
                raise ValueError(f"metric {declaration.name}: {_samples[sample]} takes the name {sample} already")
        _samples.update(dict.fromkeys(declaration.samples, declaration.name))
        metric = kind(declaration)
        _declared[declaration.name] = metric
        return metric
