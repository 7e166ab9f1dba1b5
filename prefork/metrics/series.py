"""Counters, gauges and histograms: what app code and the server itself declare once and count with anywhere."""

import math
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final, Generic, TypeVar

from prefork.metrics.counting import current, when_moved
from prefork.metrics.kinds import Declaration

KEPT_SERIES: Final = 1000  # of a metric: the objects; `Counting` bounds what they stand for

_lock = threading.Lock()  # handlers run in threads too; it is held for some hundred nanoseconds


class Series:
    """One metric for one set of label values, in this process."""

    def __init__(self, declaration: Declaration, values: tuple[str, ...]) -> None:
        self._declaration = declaration
        self._values = values
        self.forget()

    def forget(self) -> None:
        """The process counts elsewhere now."""
        self._words: memoryview[float] | None = None
        self._first = 0

    def _find(self) -> "memoryview[float]":
        """The numbers, from `self._first` on. Called with the lock."""
        words, self._first = current().series(self._declaration, self._values)
        self._words = words
        return words


class CounterSeries(Series):
    """A number that only grows."""

    def inc(self, amount: float = 1.0) -> None:
        """Count `amount` more. Raises ValueError when it is less than 0 or no number."""
        if not amount >= 0.0:
            raise ValueError(f"a counter only grows, not by {amount}")
        with _lock:
            words = self._words or self._find()
            words[self._first] += amount


class GaugeSeries(Series):
    """A number that goes up and down."""

    def set(self, value: float) -> None:
        """Say what it is now."""
        with _lock:
            words = self._words or self._find()
            words[self._first] = value
            words[self._first + 1] = 1.0

    def inc(self, amount: float = 1.0) -> None:
        """Add to it; a gauge that was not set begins at 0."""
        with _lock:
            words = self._words or self._find()
            words[self._first] += amount
            words[self._first + 1] = 1.0

    def dec(self, amount: float = 1.0) -> None:
        """Take from it."""
        self.inc(-amount)


class HistogramSeries(Series):
    """Numbers, counted by how large they are."""

    def observe(self, value: float) -> None:
        """Count one. Raises ValueError for what is no number."""
        if math.isnan(value):
            raise ValueError("a histogram counts numbers, not nan")
        buckets = self._declaration.buckets
        with _lock:
            words = self._words or self._find()
            words[self._first + bisect_left(buckets, value)] += 1.0
            words[self._first + len(buckets) + 1] += value

    @contextmanager
    def time(self) -> Iterator[None]:
        """Count how many seconds the block takes."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.observe(time.perf_counter() - began)


S = TypeVar("S", bound=Series)


class Metric(Generic[S]):
    """A metric, declared: `labels` gives its series for one set of label values."""

    def __init__(self, declaration: Declaration, make: Callable[[Declaration, tuple[str, ...]], S]) -> None:
        self.declaration = declaration
        self._make = make
        self._series: dict[tuple[str, ...], S] = {}
        when_moved(self._forget)

    def __repr__(self) -> str:
        return f"<{self.declaration.kind.name.lower()} {self.declaration.name}>"

    def labels(self, *values: object, **named: object) -> S:
        """The series for these values, by position or by name; each becomes a text. Raises ValueError when they are
        not exactly those declared."""
        names = self.declaration.labels
        if named:
            if values or set(named) != set(names):
                raise ValueError(f"metric {self.declaration.name} has the labels {', '.join(names) or 'none'}")
            values = tuple(named[name] for name in names)
        elif len(values) != len(names):
            raise ValueError(f"metric {self.declaration.name} has {len(names)} labels, and {len(values)} were given")
        key = tuple(map(str, values))
        series = self._series.get(key)
        if series is None:
            series = self._make(self.declaration, key)
            if len(self._series) < KEPT_SERIES:
                self._series[key] = series
        return series

    def _forget(self) -> None:
        for series in self._series.values():
            series.forget()

    @property
    def only(self) -> S:
        """The one series of a metric without labels. Raises ValueError for others."""
        return self.labels()


class Counter(Metric[CounterSeries]):
    """A number that only grows, summed over all processes."""

    def inc(self, amount: float = 1.0) -> None:
        """See CounterSeries.inc."""
        self.only.inc(amount)


class Gauge(Metric[GaugeSeries]):
    """A number that goes up and down: of all processes that live, the sum, or the largest, or the smallest."""

    def set(self, value: float) -> None:
        """See GaugeSeries.set."""
        self.only.set(value)

    def inc(self, amount: float = 1.0) -> None:
        """See GaugeSeries.inc."""
        self.only.inc(amount)

    def dec(self, amount: float = 1.0) -> None:
        """See GaugeSeries.dec."""
        self.only.dec(amount)


class Histogram(Metric[HistogramSeries]):
    """Numbers, counted by how large they are, summed over all processes."""

    def observe(self, value: float) -> None:
        """See HistogramSeries.observe."""
        self.only.observe(value)

    def time(self) -> AbstractContextManager[None]:
        """See HistogramSeries.time."""
        return self.only.time()
