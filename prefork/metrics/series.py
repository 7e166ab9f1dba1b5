"""Counters, gauges and histograms: what app code and the server itself declare once and count with anywhere."""

import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from math import inf
from typing import Any, ClassVar, Final, Generic, TypeVar

from prefork.metrics.counting import current, has_begun, lock, when_moved
from prefork.metrics.kinds import Declaration

KEPT_SERIES: Final = 1000  # of a metric: the objects; `Counting` bounds what they stand for


class Series:
    """One metric for one set of label values, in this process."""

    __slots__ = ("_declaration", "_first", "_kept", "_values", "_words")

    def __init__(self, declaration: Declaration, values: tuple[str, ...], kept: bool) -> None:
        """Not `kept`: nobody tells it when the process counts elsewhere, so it has to look each time."""
        self._declaration = declaration
        self._values = values
        self._kept = kept
        self.forget()

    def __repr__(self) -> str:
        values = ", ".join(f"{k}={v!r}" for k, v in zip(self._declaration.labels, self._values, strict=True))
        return f"<{self._declaration.kind.name.lower()} {self._declaration.name} {{{values}}}>"

    def forget(self) -> None:
        """The process counts elsewhere now."""
        self._words: memoryview[float] | None = None
        self._first = 0

    def find(self) -> "memoryview[float]":
        """The numbers, from `self._first` on. Called with the lock."""
        words, self._first = current().series(self._declaration, self._values)
        if self._kept:
            self._words = words
        return words


class CounterSeries(Series):
    """A number that only grows."""

    __slots__ = ()

    def inc(self, amount: float = 1.0) -> None:
        """Count `amount` more. Raises ValueError when it is less than 0 or no finite number."""
        if not 0.0 <= amount < inf:
            raise ValueError(f"a counter only grows, not by {amount}")
        with lock:
            words = self._words or self.find()
            words[self._first] += amount


class GaugeSeries(Series):
    """A number that goes up and down."""

    __slots__ = ()

    def set(self, value: float) -> None:
        """Say what it is now."""
        with lock:
            words = self._words or self.find()
            words[self._first] = value
            words[self._first + 1] = 1.0

    def inc(self, amount: float = 1.0) -> None:
        """Add to it; a gauge that was not set begins at 0."""
        with lock:
            words = self._words or self.find()
            words[self._first] += amount
            words[self._first + 1] = 1.0

    def dec(self, amount: float = 1.0) -> None:
        """Take from it."""
        self.inc(-amount)


class HistogramSeries(Series):
    """Numbers, counted by how large they are."""

    __slots__ = ()

    def observe(self, value: float) -> None:
        """Count one. Raises ValueError for what is no finite number."""
        if not -inf < value < inf:
            raise ValueError(f"a histogram counts numbers, not {value}")
        buckets = self._declaration.buckets
        with lock:
            words = self._words or self.find()
            words[self._first + bisect_left(buckets, value)] += 1.0
            words[self._first + len(buckets) + 1] += value

    @contextmanager
    def time(self) -> Iterator[None]:
        """Count how many seconds the block takes, also when it raises. A decorator too."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.observe(time.perf_counter() - began)


S = TypeVar("S", bound=Series)


class Metric(Generic[S]):
    """A metric, declared: `labels` gives its series for one set of label values."""

    _make: ClassVar[type[Any]]

    def __init__(self, declaration: Declaration) -> None:
        self.declaration = declaration
        self._series: dict[tuple[str, ...], S] = {}
        self._only: S | None = None
        if not declaration.labels:
            self._only = self.labels()
            self._begin()
        when_moved(self._forget)

    def __repr__(self) -> str:
        return f"<{self.declaration.kind.name.lower()} {self.declaration.name}>"

    def labels(self, *values: object, **named: object) -> S:
        """The series for these values of its labels, in their order or by name. Keep it, where it is used often.

        Raises ValueError when they are not exactly those declared."""
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
            with lock:
                kept = len(self._series) < KEPT_SERIES
                series = self._series.get(key) or self._make(self.declaration, key, kept)
                if kept:
                    self._series[key] = series
        return series

    @property
    def only(self) -> S:
        """The one series of a metric without labels. Raises ValueError for others."""
        return self._only or self.labels()

    def _forget(self) -> None:
        for series in self._series.values():
            series.forget()
        self._begin()

    def _begin(self) -> None:
        """What has no labels is there from the beginning, so that who reads it sees it rise from 0."""
        if self._only is not None and has_begun():
            self._only.find()


class Counter(Metric[CounterSeries]):
    """A number that only grows, summed over all processes."""

    _make = CounterSeries

    def inc(self, amount: float = 1.0) -> None:
        """See CounterSeries.inc."""
        (self._only or self.only).inc(amount)


class Gauge(Metric[GaugeSeries]):
    """A number that goes up and down: of all processes that live, the sum, or the largest, or the smallest."""

    _make = GaugeSeries

    def set(self, value: float) -> None:
        """See GaugeSeries.set."""
        (self._only or self.only).set(value)

    def inc(self, amount: float = 1.0) -> None:
        """See GaugeSeries.inc."""
        (self._only or self.only).inc(amount)

    def dec(self, amount: float = 1.0) -> None:
        """See GaugeSeries.dec."""
        (self._only or self.only).inc(-amount)


class Histogram(Metric[HistogramSeries]):
    """Numbers, counted by how large they are, summed over all processes."""

    _make = HistogramSeries

    def observe(self, value: float) -> None:
        """See HistogramSeries.observe."""
        (self._only or self.only).observe(value)

    def time(self) -> AbstractContextManager[None]:
        """See HistogramSeries.time."""
        return self.only.time()
