"""Read the rows of one place: which metrics are declared in it, and where the numbers of each series are."""

import json

from prefork.metrics.kinds import Declaration, Kind
from prefork.system.ledger import HEADER_BYTES, Place, Row


class Page:
    """What is known of a place's rows: they are only ever added, so each is read once."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.declarations: list[tuple[Declaration, int]] = []  # with the word that tells which generation uses it
        self.rows: list[tuple[Declaration, tuple[str, ...], slice]] = []  # whose numbers, for which labels, where
        self.end = HEADER_BYTES  # of what was read, in bytes

    def turn(self) -> None:
        """Read the rows that are new. Of a place whose rows make no sense, those before count."""
        try:
            for row, after in self.place.rows(self.end):
                self._add(row)
                self.end = after
        except (ValueError, TypeError, KeyError, IndexError):  # app code wrote into it
            pass

    def _add(self, row: Row) -> None:
        if row.kind == Kind.DECLARATION:
            if row.numbers != 1:
                raise ValueError(f"a declaration has {row.numbers} numbers")
            self.declarations.append((Declaration.decode(row.key), row.first))
            return
        number, *values = json.loads(row.key)
        declaration, _ = self.declarations[number]
        if row.numbers != declaration.words or len(values) != len(declaration.labels):
            raise ValueError(f"{declaration.name} has {row.numbers} numbers and {len(values)} labels")
        self.rows.append((declaration, tuple(map(str, values)), slice(row.first, row.first + row.numbers)))
