"""Sum what all processes have counted, for whoever reads the ledger."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from prefork.metrics.counting import OTHER
from prefork.metrics.kinds import Declaration, Kind
from prefork.metrics.pages import Page
from prefork.system.ledger import Place

Numbers = list[float]  # as `Declaration.words` tells; of a gauge only its value


@dataclass
class Family:
    """A metric with all its series, by label values."""

    declaration: Declaration
    series: dict[tuple[str, ...], Numbers] = field(default_factory=dict)


class Reader:
    """Reads a ledger again and again, and goes over what it knows already no more than it must."""

    def __init__(self) -> None:
        self._pages: dict[Place, Page] = {}

    def gather(self, places: Iterable[Place]) -> dict[str, Family]:
        """The metrics of these places together, by name. Gauges count only where a process lives. A metric that was
        declared in different shapes, as before and after a reload, is what the newest generation says that lives."""
        pages = []
        for place in places:
            page = self._pages.get(place)
            if page is None:
                page = self._pages[place] = Page(place)
            page.turn()
            pages.append(page)
        families = {declaration.name: Family(declaration) for declaration in _newest(pages)}
        shapes = {name: family.declaration.shape for name, family in families.items()}
        for page in pages:
            lives, words = bool(page.place.tenant.pid), page.place.words
            fits: dict[int, Family | None] = {}  # by declaration, which is the same object in all its rows
            for declaration, _ in page.declarations:
                name = declaration.name
                fits[id(declaration)] = families[name] if declaration.shape == shapes[name] else None
            for declaration, labels, where in page.rows:
                family = fits[id(declaration)]
                if family is not None:
                    _add(family, labels, list(words[where]), lives)
        return families


def _newest(pages: list[Page]) -> Iterable[Declaration]:
    """How each metric is declared. What a generation has said that was rolled back is not the last word."""
    alive = {page.place.tenant.generation for page in pages if page.place.tenant.pid}
    found: dict[str, tuple[tuple[bool, float], Declaration]] = {}
    for page in pages:
        for declaration, word in page.declarations:
            generation = page.place.words[word]
            rank = generation in alive, generation
            known = found.get(declaration.name)
            if known is None or rank >= known[0]:
                found[declaration.name] = rank, declaration
    return [declaration for _, declaration in found.values()]


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
