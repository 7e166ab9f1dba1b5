"""The jobs of servers that run on somebody else's loop: a pool that was made for them goes with the last of them."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from prefork.jobs import client, standalone
from prefork.jobs.pool import Pool
from prefork.settings import Settings, load


class Sharing:
    """The servers of one loop. A pool that was there before them stays, and so does one whose jobs are not theirs."""

    def __init__(self) -> None:
        self.servers = 0
        self.on_last: Callable[[], Awaitable[None]] | None = None  # what else goes with the last of them
        self._before = client.installed()

    @property
    def pool(self) -> Pool | None:
        """The pool that was made meanwhile, if only one server is left that may have wanted it."""
        pool = client.installed()
        return pool if self.servers == 1 and pool is not self._before else None


_loops: Final[dict[asyncio.AbstractEventLoop, Sharing]] = {}


def chosen(options: dict[str, Any]) -> Settings | None:
    """The settings of a pool, if a server was given some: they rank before variables and files. Raises UsageError."""
    return load(options, os.environ, Path()).settings if options else None


def enter(settings: Settings | None) -> Sharing:
    """A server starts on the running loop. `settings` are for a pool that is made from now on, if any were chosen."""
    loop = asyncio.get_running_loop()
    if settings is not None:
        standalone.choose(loop, settings)
    sharing = _loops.get(loop)
    if sharing is None:
        sharing = _loops[loop] = Sharing()
    sharing.servers += 1
    return sharing


async def leave(sharing: Sharing) -> None:
    """A server has stopped."""
    pool = sharing.pool
    sharing.servers -= 1
    if sharing.servers == 0:
        loop = asyncio.get_running_loop()
        del _loops[loop]
        standalone.choose(loop, None)
        if pool is not None:
            await standalone.close_pool(pool)
        if sharing.on_last is not None:
            await sharing.on_last()
