"""Sums over the ledger that a status needs: read again and again, so it remembers where the numbers are."""

from collections import defaultdict
from dataclasses import dataclass, field
from operator import add
from typing import Any, Final

from prefork.metrics import ours
from prefork.metrics.kinds import OURS, SECONDS, Declaration, Kind
from prefork.metrics.pages import Page
from prefork.metrics.series import Metric
from prefork.processes.places import Places
from prefork.system.ledger import Place

_STATUS: Final = 1  # where the status class stands among the labels of requests

Said = tuple[str, object]  # a metric's name and shape: what was declared otherwise is another metric


def _said(declaration: Declaration) -> Said:
    return declaration.name, declaration.shape


_REQUESTS: Final = _said(ours.request_seconds.declaration)


@dataclass
class Answers:
    """Requests that were answered: how many, how many of them with 5xx, and how long they took."""

    errors: int = 0
    seconds: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(SECONDS) + 1))

    @property
    def requests(self) -> int:
        return sum(self.buckets)


class Totals:
    """Reads new rows once; after that it only adds numbers up."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._pages: dict[int, Page] = {}  # by the place's index
        self._requests: dict[int, list[tuple[Place, slice, bool]]] = defaultdict(
            list
        )  # by slot; whether they are errors
        self._others: dict[Said, list[tuple[Place, slice, tuple[str, ...]]]] = defaultdict(list)

    def look(self) -> None:
        """Find what is new."""
        for place in self._places:
            page = self._pages.setdefault(place.index, Page(place))
            known = len(page.rows)
            page.turn()
            for declaration, labels, where in page.rows[known:]:
                if (said := _said(declaration)) == _REQUESTS:
                    self._requests[place.tenant.slot].append((place, where, labels[_STATUS] == "5xx"))
                elif declaration.name.startswith(OURS):
                    self._others[said].append((place, where, labels))

    def answers(self) -> dict[int, Answers]:
        """By slot."""
        return {slot: _sum(rows) for slot, rows in self._requests.items()}

    def counts(self, metric: Metric[Any], first: str | None = None) -> dict[tuple[str, ...], int]:
        """A counter's or gauge's values by its labels, of all processes together; of a gauge, of those that live.
        With `first`, only those whose first label that is."""
        gauge = metric.declaration.kind is Kind.GAUGE
        found: dict[tuple[str, ...], int] = defaultdict(int)
        for place, where, labels in self._rows(metric, first):
            if not gauge or place.tenant.pid:
                found[labels] += int(place.words[where.start])
        return dict(found)

    def count(self, metric: Metric[Any], first: str | None = None) -> int:
        """The same, all labels together."""
        return sum(self.counts(metric, first).values())

    def buckets(self, metric: Metric[Any], first: str | None = None) -> list[int]:
        """A histogram's counts, all labels together."""
        sums = [0.0] * (len(metric.declaration.buckets) + 1)
        for place, where, _ in self._rows(metric, first):
            sums = list(map(add, sums, place.words[where].tolist()))  # without the last, which is the seconds
        return [int(count) for count in sums]

    def _rows(self, metric: Metric[Any], first: str | None) -> list[tuple[Place, slice, tuple[str, ...]]]:
        rows = self._others.get(_said(metric.declaration), [])
        return rows if first is None else [found for found in rows if found[2] and found[2][0] == first]


def _sum(rows: list[tuple[Place, slice, bool]]) -> Answers:
    total = Answers()
    sums = [0.0] * (len(SECONDS) + 2)
    for place, where, failed in rows:
        numbers = place.words[where].tolist()
        sums = list(map(add, sums, numbers))
        if failed:
            total.errors += int(sum(numbers[:-1]))
    total.seconds = sums.pop()
    total.buckets = [int(count) for count in sums]
    return total
