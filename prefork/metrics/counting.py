"""Where this process counts: the rows of its place in the server's ledger, or of memory of its own."""

import json
import logging
import os
import threading
from collections import Counter as Tally
from collections.abc import Callable, Iterable
from typing import Final

from prefork.metrics.kinds import Declaration, Kind
from prefork.metrics.pages import Page
from prefork.system.ledger import Ledger, LedgerFull, Place, own_place

LABEL_SETS: Final = 1000  # of a metric, in one process; what is more is counted together
NO_GENERATION: Final = -1  # the master's, and that of a process in no server
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

    def __init__(self, place: Place, generation: int = NO_GENERATION) -> None:
        """`generation` is that of the code which counts here."""
        self.place = place
        self._generation = generation
        page = Page(place)
        page.turn()
        place.cut(page.end)
        self._declared = {declaration: (number, word) for number, (declaration, word) in enumerate(page.declarations)}
        self._known: dict[tuple[int, tuple[str, ...]], int] = {}
        self._sets: Tally[int] = Tally()  # of labels, by declaration
        self._warned: set[str] = set()
        self._making = False
        self._postponed: list[tuple[Declaration, tuple[str, ...], memoryview[float]]] = []
        for declaration, labels, where in page.rows:
            number, _ = self._declared[declaration]
            self._known[number, labels] = where.start
            self._sets[number] += 1
            if declaration.kind is Kind.GAUGE:  # it told of a process that is gone
                place.words[where.start] = place.words[where.start + 1] = 0.0

    def series(self, declaration: Declaration, labels: tuple[str, ...]) -> "tuple[memoryview[float], int]":
        """The numbers of a metric for these values of its labels: a view of doubles, and the index of the first."""
        with lock:
            if self._making:  # we are a signal handler or a finalizer
                words = _aside(declaration)
                self._postponed.append((declaration, labels, words))
                return words, 0
            self._making = True
            try:
                return self._series(declaration, tuple(map(_cut, labels)))
            finally:
                self._making = False
                if self._postponed:
                    self._settle()

    def _series(self, declaration: Declaration, labels: tuple[str, ...]) -> "tuple[memoryview[float], int]":
        try:
            number = self._declare(declaration)
            found = self._known.get((number, labels))
            if found is None and labels and self._sets[number] >= LABEL_SETS:
                words = f"has more than {LABEL_SETS} sets of labels; what is more is counted as {OTHER}"
                self._warn(declaration, words)
                labels = (OTHER,) * len(labels)
                found = self._known.get((number, labels))
            if found is None:
                key = json.dumps([number, *labels], separators=(",", ":")).encode()
                found = self._known[number, labels] = self.place.row(declaration.kind, key, declaration.words)
                self._sets[number] += 1
        except LedgerFull:
            self._warn(declaration, "has no room left in the ledger; what is new of it is not counted")
            return _aside(declaration), 0
        return self.place.words, found

    def _declare(self, declaration: Declaration) -> int:
        """Its number in this place."""
        found = self._declared.get(declaration)
        if found is None:
            word = self.place.row(Kind.DECLARATION, declaration.encode(), 1)
            found = self._declared[declaration] = len(self._declared), word
        number, word = found
        self.place.words[word] = self._generation
        return number

    def _settle(self) -> None:
        """Count what came while a row was being made."""
        postponed, self._postponed = self._postponed, []
        for declaration, labels, told in postponed:
            words, first = self.series(declaration, labels)
            for index, number in enumerate(told, first):
                words[index] = number if declaration.kind is Kind.GAUGE else words[index] + number
        for moved in _moved:  # who counted that has to look again
            moved()

    def _warn(self, declaration: Declaration, words: str) -> None:
        if declaration.name not in self._warned:
            self._warned.add(declaration.name)
            _log.warning("metric %s %s", declaration.name, words)


def _aside(declaration: Declaration) -> "memoryview[float]":
    """Numbers that are in no place."""
    return memoryview(bytearray(8 * declaration.words)).cast("d")


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
    with lock:
        return _current or _begin()


def _begin() -> Counting:
    global _current
    made = Counting(own_place())
    if _current is None:  # else a signal handler was faster
        _current = made
        for moved in _moved:
            moved()
    return _current


def adopt(place: Place | None, whole: int | None = None, generation: int = NO_GENERATION) -> None:
    """Count there from now on: what a forked process does first. None: in memory of its own.

    `whole` is a descriptor of the server's ledger, for `places`; it is ours from now on. `generation`: see `Counting`.
    """
    global _current, _whole, _ledger
    with lock:
        if _whole is not None and _whole != whole:
            os.close(_whole)
        _whole, _ledger = whole, None
        _current = None if place is None else Counting(place, generation)
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
