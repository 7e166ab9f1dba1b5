"""Sums over the ledger that a status needs: read again and again, so it remembers where the numbers are."""

from collections import defaultdict
from dataclasses import dataclass, field
from operator import add
from typing import Any, Final

from prefork.metrics import ours
from prefork.metrics.families import Page
from prefork.metrics.kinds import SECONDS, Kind
from prefork.metrics.series import Metric
from prefork.processes.places import Places
from prefork.system.ledger import Place, Row

_REQUESTS: Final = ours.request_seconds.declaration.name
_STATUS: Final = 1  # where the status class stands among its labels


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
        self._requests: dict[int, list[tuple[Place, Row, bool]]] = defaultdict(list)  # by slot; whether they are errors
        self._others: dict[str, list[tuple[Place, Row, tuple[str, ...]]]] = defaultdict(list)  # by metric

    def look(self) -> None:
        """Find what is new."""
        for place in self._places:
            page = self._pages.setdefault(place.index, Page(place))
            known = len(page.rows)
            page.turn()
            for declaration, labels, where in page.rows[known:]:
                row = Row(declaration.kind, b"", where.start, where.stop - where.start)
                self._note(place, row, declaration.name, labels)

    def answers(self) -> dict[int, Answers]:
        """By slot."""
        return {slot: _sum(rows) for slot, rows in self._requests.items()}

    def counts(self, metric: Metric[Any], first: str | None = None) -> dict[tuple[str, ...], int]:
        """A counter's or gauge's values by its labels, of all processes together; of a gauge, of those that live.
        With `first`, only those whose first label that is."""
        gauge = metric.declaration.kind is Kind.GAUGE
        found: dict[tuple[str, ...], int] = defaultdict(int)
        for place, row, labels in self._rows(metric, first):
            if not gauge or place.tenant.pid:
                found[labels] += int(place.words[row.first])
        return dict(found)

    def count(self, metric: Metric[Any], first: str | None = None) -> int:
        """The same, all labels together."""
        return sum(self.counts(metric, first).values())

    def buckets(self, metric: Metric[Any], first: str | None = None) -> list[int]:
        """A histogram's counts, all labels together."""
        sums = [0.0] * (len(metric.declaration.buckets) + 1)
        for place, row, _ in self._rows(metric, first):
            if row.numbers == len(sums) + 1:
                sums = list(map(add, sums, place.words[row.first : row.first + len(sums)].tolist()))
        return [int(count) for count in sums]

    def _rows(self, metric: Metric[Any], first: str | None) -> list[tuple[Place, Row, tuple[str, ...]]]:
        rows = self._others.get(metric.declaration.name, [])
        return rows if first is None else [found for found in rows if found[2] and found[2][0] == first]

    def _note(self, place: Place, row: Row, name: str, labels: tuple[str, ...]) -> None:
        if name != _REQUESTS:
            if name.startswith("prefork_"):
                self._others[name].append((place, row, labels))
        elif row.numbers == len(SECONDS) + 2:
            self._requests[place.tenant.slot].append((place, row, labels[_STATUS] == "5xx"))


def _sum(rows: list[tuple[Place, Row, bool]]) -> Answers:
    total = Answers()
    sums = [0.0] * (len(SECONDS) + 2)
    for place, row, failed in rows:
        numbers = place.words[row.first : row.first + row.numbers].tolist()
        sums = list(map(add, sums, numbers))
        if failed:
            total.errors += int(sum(numbers[:-1]))
    total.seconds = sums.pop()
    total.buckets = [int(count) for count in sums]
    return total
