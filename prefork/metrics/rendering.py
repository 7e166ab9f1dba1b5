"""Write metrics as Prometheus and its kin read them: the text format 0.0.4, or OpenMetrics 1.0."""

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from prefork.errors import UsageError
from prefork.metrics.families import Family
from prefork.metrics.kinds import Declaration, Kind

if TYPE_CHECKING:
    from prometheus_client.core import Metric

PROMETHEUS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_TYPE: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
UNITS: Final = ("seconds", "bytes", "ratio")  # that a name may end with


def exposition(families: Iterable[Family], openmetrics: bool = False) -> bytes:
    """All of them, by name. Raises UsageError when prometheus-client is not installed."""
    try:
        import prometheus_client  # here: it costs 30 ms, and only who is asked needs it
        from prometheus_client.openmetrics import exposition as openmetrics_exposition
    except ImportError:
        raise UsageError("metrics as text need prometheus-client: pip install 'prefork[standard]'") from None
    registry: Any = _Registry(families)
    if openmetrics:
        text: bytes = openmetrics_exposition.generate_latest(registry)  # type: ignore[no-untyped-call]
        return text
    return prometheus_client.generate_latest(registry)


class _Registry:
    """As much of a registry as is asked for."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = sorted(families, key=lambda family: family.declaration.base)

    def collect(self) -> "Iterator[Metric]":
        return map(_metric, self._families)


def _metric(family: Family) -> "Metric":
    from prometheus_client import core, utils

    declaration = family.declaration
    name, words, labels, unit = declaration.base, declaration.help, declaration.labels, _unit(declaration)
    series = sorted(family.series.items())
    if declaration.kind is Kind.COUNTER:
        counter = core.CounterMetricFamily(name, words, labels=labels, unit=unit)
        for values, numbers in series:
            counter.add_metric(values, numbers[0])
        return counter
    if declaration.kind is Kind.GAUGE:
        gauge = core.GaugeMetricFamily(name, words, labels=labels, unit=unit)
        for values, numbers in series:
            gauge.add_metric(values, numbers[0])
        return gauge
    histogram = core.HistogramMetricFamily(name, words, labels=labels, unit=unit)
    bounds = [*map(utils.floatToGoString, declaration.buckets), "+Inf"]
    grows = declaration.buckets[0] >= 0  # a sum that may fall is none: OpenMetrics wants it left out
    for values, numbers in series:
        histogram.add_metric(
            values, list(zip(bounds, accumulate(numbers[:-1]), strict=True)), numbers[-1] if grows else None
        )
    return histogram


def _unit(declaration: Declaration) -> str:
    last = declaration.base.rpartition("_")[2]
    return last if last in UNITS else ""
