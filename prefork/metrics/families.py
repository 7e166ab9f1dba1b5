"""Sum what all processes have counted, for whoever reads the ledger."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from prefork.metrics.counting import OTHER
from prefork.metrics.kinds import Declaration, Kind
from prefork.system.ledger import HEADER_BYTES, Place

Numbers = list[float]  # as `Declaration.words` tells; of a gauge only its value


@dataclass
class Family:
    """A metric with all its series, by label values."""

    declaration: Declaration
    series: dict[tuple[str, ...], Numbers] = field(default_factory=dict)


class Page:
    """What is known of one place's rows: they are only ever added, so each is read once."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.declarations: list[Declaration] = []
        self.rows: list[tuple[Declaration, tuple[str, ...], slice]] = []
        self._next = HEADER_BYTES
        self._broken = False

    def turn(self) -> None:
        """Read the rows that are new. Of a place whose rows make no sense, those before count."""
        if self._broken:
            return
        try:
            for row, after in self.place.rows(self._next):
                if row.kind == Kind.DECLARATION:
                    self.declarations.append(Declaration.decode(row.key))
                else:
                    number, *values = json.loads(row.key)
                    declaration = self.declarations[number]
                    if row.numbers != declaration.words:
                        raise ValueError(f"{declaration.name} has {row.numbers} numbers")
                    self.rows.append((declaration, tuple(values), slice(row.first, row.first + row.numbers)))
                self._next = after
        except (ValueError, TypeError, KeyError, IndexError):  # app code wrote into it
            self._broken = True


class Reader:
    """Reads a ledger again and again, and goes over what it knows already no more than it must."""

    def __init__(self) -> None:
        self._pages: dict[Place, Page] = {}

    def gather(self, places: Iterable[Place]) -> dict[str, Family]:
        """The metrics of these places together, by name. Gauges count only where a process lives. A metric that was
        declared in different shapes, as before and after a reload, is what the newest generation says."""
        pages = []
        newest: dict[str, tuple[int, Declaration]] = {}
        for place in places:
            page = self._pages.get(place)
            if page is None:
                page = self._pages[place] = Page(place)
            page.turn()
            pages.append(page)
            generation = place.tenant.generation
            for declaration in page.declarations:
                known = newest.get(declaration.name)
                if known is None or generation >= known[0]:
                    newest[declaration.name] = generation, declaration
        families = {name: Family(declaration) for name, (_, declaration) in newest.items()}
        shapes = {name: family.declaration.shape for name, family in families.items()}
        for page in pages:
            lives, words = bool(page.place.tenant.pid), page.place.words
            fits: dict[int, Family | None] = {}  # by declaration, which is the same object in all its rows
            for declaration in page.declarations:
                name = declaration.name
                fits[id(declaration)] = families[name] if declaration.shape == shapes[name] else None
            for declaration, labels, where in page.rows:
                family = fits[id(declaration)]
                if family is not None:
                    _add(family, labels, list(words[where]), lives)
        return families


def gather(places: Iterable[Place]) -> dict[str, Family]:
    """As `Reader.gather`, for who reads once."""
    return Reader().gather(places)


def _add(family: Family, labels: tuple[str, ...], numbers: Numbers, lives: bool) -> None:
    declaration, series = family.declaration, family.series
    before = series.get(labels)
    if declaration.kind is not Kind.GAUGE:
        if OTHER in labels and not any(numbers):  # room that was kept for them
            return
        if before is None:
            series[labels] = numbers
        elif len(numbers) == 1:
            before[0] += numbers[0]
        else:
            series[labels] = [old + new for old, new in zip(before, numbers, strict=True)]
    elif lives and numbers[1]:
        value = numbers[0]
        if before is not None:
            value = {"sum": before[0] + value, "max": max(before[0], value), "min": min(before[0], value)}[
                declaration.across
            ]
        series[labels] = [value]
