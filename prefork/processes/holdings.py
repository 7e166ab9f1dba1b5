"""What the master holds for its workers: processes that are theirs, actors, memory by name."""

import selectors
from collections.abc import Callable, Collection, Iterator

from prefork.messages import EndProcess, Message, WantProcess, WantShared
from prefork.processes.actors import Actors
from prefork.processes.link import WorkerLink
from prefork.processes.molds import MoldHandle, Molds
from prefork.processes.owned import OwnedProcesses
from prefork.processes.shared import SharedRegions
from prefork.system.channel import Channel


class Holdings:
    """All of it, and the way from a worker's wish to it."""

    def __init__(
        self, selector: selectors.BaseSelector, molds: Molds, next_serial: Callable[[], int], boot_seconds: float
    ) -> None:
        self.owned = OwnedProcesses()
        self.actors = Actors(self.owned, selector, next_serial, molds.order_actor, boot_seconds)
        self._shared = SharedRegions()
        self._molds = molds
        self._next_serial = next_serial

    def __bool__(self) -> bool:
        """Whether processes are left."""
        return bool(self.owned)

    def obey(self, link: WorkerLink, message: Message, descriptors: list[int], now: float) -> bool:
        """Do what a worker asks for. Returns whether it was about what is held for it."""
        generation = link.handle.generation
        if isinstance(message, WantProcess):
            mold = self._molds.ready_for(generation)
            self.owned.order(mold, self._next_serial(), link, message, descriptors, now)
        elif isinstance(message, EndProcess):
            self.owned.end(link.channel, message, now)
        elif isinstance(message, WantShared):
            self._shared.answer(generation, message, link.channel, self._molds.ready_for(generation))
        else:
            return self.actors.obey(link.channel, generation, link.handle.slot, message, descriptors, now)
        return True

    def obey_mold(self, mold: MoldHandle, message: WantShared) -> None:
        """A mold asks for memory while it imports the app."""
        self._shared.answer(mold.generation, message, mold.channel, None)

    def worker_gone(self, channel: Channel, now: float) -> None:
        """Whoever spoke through this channel is gone."""
        self.owned.end_owned(channel, now)
        self.actors.user_gone(channel)

    def mold_gone(self, generation: int) -> None:
        """What it was ordered to fork and has not forked will never be."""
        self.actors.mold_gone(generation)
        self.owned.mold_gone(generation)

    def tick(self, now: float, wanted: int | None) -> None:
        """Do what is due. `wanted` is the generation whose actors are to run; None: the server stops."""
        self.owned.tick(now)
        self.actors.tick(now, wanted)

    def deadlines(self, now: float) -> Iterator[float]:
        """When `tick` could next have something to do, should nothing happen before."""
        yield from self.owned.deadlines()
        yield from self.actors.deadlines(now)

    def release(self, generations: Collection[int]) -> None:
        """Let go of memory that none of these generations has asked for."""
        self._shared.release(generations)

    def kill_all(self, now: float) -> None:
        """End all processes at once."""
        self.owned.kill_all()
        self.actors.kill_all(now)
