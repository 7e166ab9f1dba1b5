"""Count what the workers of each generation have answered since a moment: two generations, in one ledger."""

from collections.abc import Callable, Iterable
from typing import Final

from prefork.core.canary import Key, Tally
from prefork.core.roster import WorkerHandle
from prefork.metrics import ours
from prefork.metrics.pages import Page
from prefork.processes.link import WorkerLink
from prefork.system.ledger import Place

Numbers = dict[Key, list[float]]

REQUESTS: Final = ours.request_seconds.declaration


class _Counted:
    """One worker, and what stood in its place when we began: a place goes on counting for its next process."""

    def __init__(self, handle: WorkerHandle, place: Place) -> None:
        self.handle = handle
        self._page = Page(place)
        self._before = self._read()

    def numbers(self) -> Numbers:
        """What it has counted since."""
        found = self._read()
        for key, before in self._before.items():
            found[key] = [now - then for now, then in zip(found[key], before, strict=True)]
        return {key: numbers for key, numbers in found.items() if any(numbers)}

    def _read(self) -> Numbers:
        self._page.turn()
        words = self._page.place.words
        return {
            (labels[0], labels[1], labels[2]): list(words[where])
            for declaration, labels, where in self._page.rows
            if declaration.name == REQUESTS.name and declaration.shape == REQUESTS.shape
        }


class Tallies:
    """Begins with the workers that live, is told of those that come and go, and adds up at any time."""

    def __init__(self, handles: Iterable[WorkerHandle], place_of: Callable[[int], Place | None], now: float) -> None:
        """`place_of` a pid in the ledger; `now` in monotonic seconds."""
        self._place_of = place_of
        self._since = now
        self._living: dict[int, _Counted] = {}  # by serial
        self._nameless: list[WorkerHandle] = []  # ready, and their mold has not told their pids yet
        self._gone: dict[int, Tally] = {}  # by generation: those of workers that have ended
        for handle in handles:
            self.came(handle)

    def came(self, handle: WorkerHandle) -> None:
        """From now on a worker's requests count."""
        if handle.pid is None:
            self._nameless.append(handle)
        elif (place := self._place_of(handle.pid)) is not None:
            self._living[handle.serial] = _Counted(handle, place)

    def _name(self) -> None:
        nameless, self._nameless = self._nameless, []
        for handle in nameless:
            self.came(handle)

    def went(self, link: WorkerLink, now: float) -> None:
        """It is gone. What it still had in flight is lost."""
        self._nameless = [handle for handle in self._nameless if handle is not link.handle]
        counted = self._living.pop(link.handle.serial, None)
        if counted is None:
            return
        tally = self._gone.setdefault(link.handle.generation, Tally())
        for key, numbers in counted.numbers().items():
            tally.add(key, numbers)
        tally.lost += len(link.board.in_flight(now))

    def of(self, generation: int, links: Iterable[WorkerLink], now: float) -> Tally:
        """Everything that its workers have answered, and how long they have been at what began since and goes on.
        `links` of those that live."""
        self._name()
        gone = self._gone.get(generation, Tally())
        tally = Tally({key: list(numbers) for key, numbers in gone.series.items()}, gone.lost)
        for counted in self._living.values():
            if counted.handle.generation == generation:
                for key, numbers in counted.numbers().items():
                    tally.add(key, numbers)
        ages = [r.age for li in links if li.handle.generation == generation for r in li.board.in_flight(now)]
        tally.ages = [age for age in ages if age < now - self._since]
        return tally
