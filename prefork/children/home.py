"""What the children of one event loop share: the settings, who forks for them, and the end of the loop."""

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from prefork.children.places import Places
from prefork.children.thread_pool import Threads
from prefork.jobs.spawner import ChannelSpawner
from prefork.jobs.standalone import NurserySpawner
from prefork.messages import Message
from prefork.settings import Settings, load

# A spawner for processes of a role; modules are imported before the first is forked, where no app has been.
MakeSpawner = Callable[[str, Sequence[str]], ChannelSpawner]

_homes: Final[dict[asyncio.AbstractEventLoop, "Home"]] = {}
_chosen: Final[dict[asyncio.AbstractEventLoop, Settings]] = {}
_given: Settings | None = None
_keepers: Final[dict["Home", AsyncGenerator[None, None]]] = {}


class Home:
    """One for each event loop. A worker makes its own; elsewhere the first child does (`home`)."""

    def __init__(self, loop: asyncio.AbstractEventLoop, settings: Settings, make_spawner: MakeSpawner) -> None:
        self.loop = loop
        self.settings = settings
        self.places = Places(settings.max_children, settings.children_wait_seconds)
        wait, grace = settings.children_wait_seconds, settings.children_grace_seconds
        self.threads = Threads(loop, settings.threads, wait, grace, "prefork-thread")
        self.on_close: list[Callable[[], Awaitable[None]]] = [self.threads.close]  # run last in, first out
        self._make_spawner = make_spawner
        self._spawners: dict[str, ChannelSpawner] = {}

    def spawner(self, role: str, modules: Sequence[str] = ()) -> ChannelSpawner:
        """Who forks processes of a role for us."""
        found = self._spawners.get(role)
        if found is None:
            found = self._spawners[role] = self._make_spawner(role, modules)
        return found

    def hear(self, message: Message, descriptors: list[int]) -> None:
        """In a worker: what the master says, which may be for one of our spawners."""
        for spawner in self._spawners.values():
            spawner.hear(message, descriptors)

    async def close(self) -> None:
        """End all children. The next one on this loop gets a new home."""
        _homes.pop(self.loop, None)
        while self.on_close:
            await self.on_close.pop()()
        for spawner in self._spawners.values():
            spawner.close()


def install(home: Home) -> None:
    """Let the children of its loop live there."""
    _homes[home.loop] = home


def home() -> Home:
    """That of the running loop. Raises RuntimeError without one, UsageError for settings that are wrong."""
    loop = asyncio.get_running_loop()
    found = _homes.get(loop)
    if found is None:
        found = _make_standalone(loop)
    return found


def use(settings: Settings) -> None:
    """Let homes in this process have these settings, unless others are chosen: it belongs to a server, whose flags and
    file it cannot see."""
    global _given
    _given = settings


def choose(settings: Settings | None) -> Callable[[], Awaitable[None]]:
    """Let a home that is made for the running loop have these settings; None: those of variables and files, as others
    have. Returns what ends that, and closes a home that was made meanwhile."""
    loop = asyncio.get_running_loop()
    before = _homes.get(loop)
    if settings is not None:
        _chosen[loop] = settings

    async def over() -> None:
        _chosen.pop(loop, None)
        made = _homes.get(loop)
        if made is not None and made is not before:
            await _keepers[made].aclose()

    return over


def _make_standalone(loop: asyncio.AbstractEventLoop) -> Home:
    """A home outside of a worker: a nursery forks. Unless somebody has given any, settings come from variables and
    files."""
    settings = _chosen.get(loop) or _given or load({}, os.environ, Path()).settings
    home = Home(loop, settings, lambda role, modules: NurserySpawner(loop, settings, modules, role))
    install(home)
    keeper = _keepers[home] = _close_with_loop(home)
    try:
        keeper.__anext__().send(None)  # up to its yield; from then on the loop knows it
    except StopIteration:
        pass
    return home


async def _close_with_loop(home: Home) -> AsyncGenerator[None, None]:
    """Goes no further by itself: `loop.shutdown_asyncgens()`, which asyncio.run() calls, closes it, and so the home."""
    try:
        yield
    finally:
        del _keepers[home]
        await home.close()
