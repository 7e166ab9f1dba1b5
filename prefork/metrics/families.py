"""Sum what all processes have counted, for whoever reads the ledger."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from prefork.metrics.kinds import Declaration, Kind
from prefork.system.ledger import Place

Numbers = list[float]  # as `Declaration.words` tells; of a gauge only its value


@dataclass
class Family:
    """A metric with all its series, by label values."""

    declaration: Declaration
    series: dict[tuple[str, ...], Numbers] = field(default_factory=dict)


def gather(places: Iterable[Place]) -> dict[str, Family]:
    """The metrics of these places together, by name. Gauges count only where a process lives."""
    families: dict[str, Family] = {}
    for place in places:
        lives = bool(place.tenant.pid)
        for row, _ in place.rows():
            if row.kind == Kind.DECLARATION:
                declaration = Declaration.decode(row.key)
                families.setdefault(declaration.name, Family(declaration))
                continue
            name, *values = json.loads(row.key)
            family = families.get(name)
            if family is None or family.declaration.kind != row.kind:
                continue
            _add(family, tuple(values), place.numbers(row), lives)
    return families


def _add(family: Family, labels: tuple[str, ...], numbers: Numbers, lives: bool) -> None:
    declaration, series = family.declaration, family.series
    if declaration.kind is not Kind.GAUGE:
        before = series.get(labels)
        if before is None:
            series[labels] = numbers
        elif len(before) == len(numbers):  # not: another generation has other buckets
            series[labels] = [old + new for old, new in zip(before, numbers, strict=True)]
    elif lives and numbers[1]:
        known = series.get(labels)
        value = numbers[0]
        if known is not None:
            value = {"sum": known[0] + value, "max": max(known[0], value), "min": min(known[0], value)}[
                declaration.across
            ]
        series[labels] = [value]
