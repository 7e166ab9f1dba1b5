"""The forked children of one home: ordered by number, told apart by it, ended with the home."""

import asyncio
from collections.abc import Iterable
from typing import Final

from prefork.children.forks.forked_child import ForkedProcess
from prefork.children.forks.packets import Codec
from prefork.children.forks.targets import modules_of
from prefork.children.home import Home

END_SECONDS: Final = 1.0  # between SIGKILL and the news of their death

_all: Final[dict[Home, "Forks"]] = {}


class Forks:
    """Those that were ordered and are not gone, or hold something that nobody has read."""

    def __init__(self, home: Home, name: str) -> None:
        """`name`: of the first target."""
        self._home = home
        self._processes: dict[int, ForkedProcess] = {}  # not gone, by number
        self._open: set[ForkedProcess] = set()
        self._number = 0
        self._spawner = home.spawner("child", modules_of(name))
        self._spawner.on_forked, self._spawner.on_gone = self._forked, self._gone
        home.on_close.append(self.close)

    def make(self, name: str, codec: Codec, most: int) -> ForkedProcess:
        """A record for one to be ordered. Raises OSError."""
        self._number += 1
        made = ForkedProcess(self._number, name, self._home.loop, codec, most)
        self._open.add(made)
        made.on_closed = lambda: self._open.discard(made)
        return made

    def order(self, wanted: ForkedProcess) -> None:
        """Have it forked. When it is gone, its place is free."""
        self._processes[wanted.number] = wanted
        self._spawner.order(wanted.number, [wanted.far, wanted.stacks])

    def end(self, child: ForkedProcess, grace: float | None = None) -> None:
        """SIGTERM for all its processes, SIGKILL after `grace` seconds, with 0 only that; None:
        children_grace_seconds."""
        if child.ends() and child.number in self._processes:
            self._spawner.end(child.number, self._home.settings.children_grace_seconds if grace is None else grace)

    @property
    def living(self) -> Iterable[ForkedProcess]:
        return self._processes.values()

    async def close(self) -> None:
        """End them all, and wait for that."""
        _all.pop(self._home, None)
        living = list(self._processes.values())
        for child in living:
            self.end(child)
        if living:
            longest = self._home.settings.children_grace_seconds + END_SECONDS
            await asyncio.wait([child.gone for child in living], timeout=longest)
        for child in living:
            if not child.gone.done():
                child.discard()
        self._processes.clear()
        for child in list(self._open):
            child.close()

    def _forked(self, number: int, _: int) -> None:
        if number in self._processes:
            self._processes[number].forked()

    def _gone(self, number: int, status: int | None, out_of_memory: bool, reason: str) -> None:
        child = self._processes.pop(number, None)
        if child is not None:
            self._home.places.free()
            child.has_gone(status, out_of_memory, reason)


def forked_in(home: Home) -> Iterable[ForkedProcess]:
    """The children that live there, or are about to."""
    found = _all.get(home)
    return () if found is None else tuple(found.living)


def forks(home: Home, name: str) -> Forks:
    """Those of a home. `name`: of a target, whose module is worth importing before the first is forked."""
    found = _all.get(home)
    if found is None:
        found = _all[home] = Forks(home, name)
    return found
