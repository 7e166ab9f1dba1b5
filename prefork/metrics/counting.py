"""Where this process counts: the rows of its place in the server's ledger, or of memory of its own."""

import json
import logging
import os
import threading
from collections import Counter as Tally
from collections.abc import Callable, Iterable
from typing import Final

from prefork.metrics.kinds import Declaration, Kind
from prefork.system.ledger import Ledger, LedgerFull, Place, own_place

LABEL_SETS: Final = 1000  # of a metric, in one process; what is more is counted together
OTHER: Final = "(other)"  # every label of what is counted together
LABEL_CHARACTERS: Final = 150  # of a label's value; the rest is cut off

# Handlers run in threads too. It is held for some hundred nanoseconds; by the same thread twice when a signal handler
# or a finalizer counts while it is.
lock: Final = threading.RLock()

_log = logging.getLogger("prefork.metrics")


class Counting:
    """What one process has in its place. It goes on from what its predecessor there has counted.

    A row of numbers has a key: which of the declarations in this place it belongs to, and the values of its labels.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self._known: dict[bytes, int] = {}
        self._numbers: dict[Declaration, int] = {}  # of declarations, in their order
        self._sets: Tally[int] = Tally()  # of labels, by declaration
        self._warned: set[str] = set()
        declared = 0
        for row, _ in place.rows():
            if row.kind == Kind.DECLARATION:
                self._numbers[Declaration.decode(row.key)] = declared
                declared += 1
                continue
            self._known[row.key] = row.first
            self._sets[json.loads(row.key)[0]] += 1
            if row.kind == Kind.GAUGE:  # it told of a process that is gone
                place.words[row.first] = place.words[row.first + 1] = 0.0

    def series(self, declaration: Declaration, labels: tuple[str, ...]) -> "tuple[memoryview[float], int]":
        """The numbers of a metric for these values of its labels: a view of doubles, and the index of the first."""
        with lock:
            try:
                number = self._declare(declaration)
                key = _key(number, labels)
                found = self._known.get(key)
                if found is None and labels and self._sets[number] >= LABEL_SETS:
                    words = f"has more than {LABEL_SETS} sets of labels; what is more is counted as {OTHER}"
                    self._warn(declaration, words)
                    key = _key(number, (OTHER,) * len(labels))
                    found = self._known.get(key)
                if found is None:
                    found = self._known[key] = self.place.row(declaration.kind, key, declaration.words)
                    self._sets[number] += 1
            except LedgerFull:
                self._warn(declaration, "has no room left in the ledger; what is new of it is not counted")
                return memoryview(bytearray(8 * declaration.words)).cast("d"), 0
            return self.place.words, found

    def _declare(self, declaration: Declaration) -> int:
        number = self._numbers.get(declaration)
        if number is None:
            self.place.row(Kind.DECLARATION, declaration.encode(), 0)
            number = self._numbers[declaration] = len(self._numbers)
        return number

    def _warn(self, declaration: Declaration, words: str) -> None:
        if declaration.name not in self._warned:
            self._warned.add(declaration.name)
            _log.warning("metric %s %s", declaration.name, words)


def _key(number: int, labels: tuple[str, ...]) -> bytes:
    return json.dumps([number, *map(_cut, labels)], separators=(",", ":")).encode()


def _cut(value: str) -> str:
    """A label's value as it is kept: not too long, and in characters that can be sent."""
    if len(value) > LABEL_CHARACTERS:
        value = value[: LABEL_CHARACTERS - 1] + "…"
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


_current: Counting | None = None
_whole: int | None = None  # a descriptor of the server's ledger
_ledger: Ledger | None = None
_moved: list[Callable[[], None]] = []  # told when this process counts elsewhere


def current() -> Counting:
    """Where this process counts now."""
    global _current
    with lock:
        if _current is None:
            _current = Counting(own_place())
            for moved in _moved:
                moved()
        return _current


def adopt(place: Place | None, whole: int | None = None) -> None:
    """Count there from now on: what a forked process does first. None: in memory of its own.

    `whole` is a descriptor of the server's ledger, for `places`; it is ours from now on.
    """
    global _current, _whole, _ledger
    with lock:
        if _whole is not None and _whole != whole:
            os.close(_whole)
        _whole, _ledger = whole, None
        _current = None if place is None else Counting(place)
        for moved in _moved:
            moved()


def has_begun() -> bool:
    """Whether this process has a place yet: one of its own is made when something is counted."""
    return _current is not None


def places() -> Iterable[Place]:
    """All places of the server that we are part of, ours alone if there is none. Others' are not ours to write."""
    global _ledger
    with lock:
        if _whole is None:
            return [current().place]
        if _ledger is None:
            _ledger = Ledger(_whole)
        return _ledger.places()


def when_moved(call: Callable[[], None]) -> None:
    """Have `call` called whenever this process counts elsewhere: what was found out about the rows is void then."""
    _moved.append(call)


def _forked() -> None:
    """A place has one writer. Whoever was forked without a place of its own counts for itself."""
    if _current is not None:
        adopt(None)
    lock.release()


# Nobody else holds it while we fork, so the child finds it free, and no row half written.
os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=_forked)
