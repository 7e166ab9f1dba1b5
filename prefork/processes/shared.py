"""The master's side of memory by name: it makes each once, and holds it for processes that are yet to come."""

import logging
import os
from collections.abc import Collection
from dataclasses import dataclass, field

from prefork.messages import Shared, WantShared
from prefork.processes.molds import MoldHandle
from prefork.system import memory
from prefork.system.channel import Channel, ChannelClosed
from prefork.system.named_memory import words_on_sizes

_log = logging.getLogger("prefork.shared")


@dataclass
class HeldRegion:
    """Memory that processes of these generations have asked for."""

    name: str
    size: int
    descriptor: int
    generations: set[int] = field(default_factory=set)


class SharedRegions:
    """What is held. A name means one piece of memory to all of a generation; the next one goes on with it, unless it
    asks for another size: then it gets memory of its own, and the old one stays with the old generation."""

    def __init__(self) -> None:
        self._held: list[HeldRegion] = []  # the oldest first

    def answer(self, generation: int, wanted: WantShared, channel: Channel, mold: MoldHandle | None) -> None:
        """Give a process of that generation what it asks for. `mold`, if another than who asks, is told, so that what
        it forks from now on has it too."""
        try:
            region = self._find(generation, wanted)
        except (ValueError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            _tell(channel, Shared(wanted.name, wanted.size, reason), None)
            return
        answer = Shared(region.name, region.size)
        if mold is not None:
            _tell(mold.channel, answer, region)
        _tell(channel, answer, region)

    def release(self, needed: Collection[int]) -> None:
        """Let go of what no generation that is left has asked for."""
        for region in [region for region in self._held if region.generations.isdisjoint(needed)]:
            self._held.remove(region)
            os.close(region.descriptor)

    def _find(self, generation: int, wanted: WantShared) -> HeldRegion:
        of_name = [region for region in self._held if region.name == wanted.name]
        of_generation = next((region for region in of_name if generation in region.generations), None)
        if of_generation is not None:
            if of_generation.size != wanted.size:
                raise ValueError(words_on_sizes(wanted.name, of_generation.size, wanted.size))
            return of_generation
        region = of_name[-1] if of_name and of_name[-1].size == wanted.size else None
        if region is None:
            descriptor = memory.create(f"prefork-{wanted.name}", wanted.size)
            region = HeldRegion(wanted.name, wanted.size, descriptor)
            self._held.append(region)
        region.generations.add(generation)
        return region


def _tell(channel: Channel, message: Shared, region: HeldRegion | None) -> None:
    try:
        if not channel.send(message, [] if region is None else [region.descriptor]):
            _log.error("shared memory %r: a process does not read what it is told", message.name)
    except ChannelClosed:
        pass  # it is dying; that is told elsewhere
