"""Where this process counts: the rows of its place in the server's ledger, or of memory of its own."""

import json
import logging
from collections import Counter as Tally
from collections.abc import Callable
from typing import Final

from prefork.metrics.kinds import Declaration, Kind
from prefork.system.ledger import LedgerFull, Place, own_place

LABEL_SETS: Final = 1000  # of a metric, in one process; what is more is counted together
OTHER: Final = "(other)"  # every label of what is counted together

_log = logging.getLogger("prefork.metrics")


class Counting:
    """What one process has in its place. It goes on from what its predecessor there has counted."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._known: dict[tuple[int, bytes], int] = {}
        self._sets: Tally[str] = Tally()  # of labels, by metric
        self._warned: set[str] = set()
        for row, _ in place.rows():
            self._known[row.kind, row.key] = row.first
            if row.kind != Kind.DECLARATION:
                self._sets[json.loads(row.key)[0]] += 1
            if row.kind == Kind.GAUGE:  # it told of a process that is gone
                place.words[row.first] = place.words[row.first + 1] = 0.0

    def series(self, declaration: Declaration, labels: tuple[str, ...]) -> "tuple[memoryview[float], int]":
        """The numbers of a metric for these values of its labels: a view of doubles, and the index of the first."""
        found = self._known.get((declaration.kind, _key(declaration, labels)))
        if found is None and labels and self._sets[declaration.name] >= LABEL_SETS:
            self._warn(declaration, f"has more than {LABEL_SETS} sets of labels; what is more is counted as {OTHER}")
            labels = (OTHER,) * len(labels)
            found = self._known.get((declaration.kind, _key(declaration, labels)))
        if found is None:
            try:
                found = self._append(declaration, labels)
            except LedgerFull:
                self._warn(declaration, "has no room left in the ledger; what is new of it is not counted")
                return memoryview(bytearray(8 * declaration.words)).cast("d"), 0
        return self.place.words, found

    def _append(self, declaration: Declaration, labels: tuple[str, ...]) -> int:
        about = declaration.encode()
        if (Kind.DECLARATION, about) not in self._known:
            self._known[Kind.DECLARATION, about] = self.place.row(Kind.DECLARATION, about, 0)
        key = _key(declaration, labels)
        self._known[declaration.kind, key] = first = self.place.row(declaration.kind, key, declaration.words)
        self._sets[declaration.name] += 1
        return first

    def _warn(self, declaration: Declaration, words: str) -> None:
        if declaration.name not in self._warned:
            self._warned.add(declaration.name)
            _log.warning("metric %s %s", declaration.name, words)


def _key(declaration: Declaration, labels: tuple[str, ...]) -> bytes:
    return json.dumps([declaration.name, *labels], separators=(",", ":")).encode()


_current: Counting | None = None
_moved: list[Callable[[], None]] = []  # told when this process counts elsewhere


def current() -> Counting:
    """Where this process counts now."""
    global _current
    if _current is None:
        _current = Counting(own_place())
    return _current


def adopt(place: Place | None) -> None:
    """Count there from now on: what a forked process does first. None: in memory of its own."""
    global _current
    _current = None if place is None else Counting(place)
    for moved in _moved:
        moved()


def when_moved(call: Callable[[], None]) -> None:
    """Have `call` called whenever this process counts elsewhere: what was found out about the rows is void then."""
    _moved.append(call)
