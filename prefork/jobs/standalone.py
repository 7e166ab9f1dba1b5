"""Offload without a prefork server: under another one, or in a script. A nursery takes the place of master and mold.

It is a fresh interpreter, started when the first job comes: to fork a process that has threads or a running loop would
leave locks held for ever in the child.
"""

import asyncio
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from multiprocessing import spawn
from pathlib import Path
from typing import Any, Final

from prefork.jobs.backends import make_backend
from prefork.jobs.pool import Pool
from prefork.jobs.spawner import ChannelSpawner
from prefork.messages import Message, ProcessGone, WantActor, WantProcess
from prefork.settings import Settings, load
from prefork.system import named_memory
from prefork.system.channel import Channel, ChannelClosed

PROGRAM: Final = "prefork.processes.nursery"

_PREPARED: Final = ("sys_path", "sys_argv", "orig_dir", "dir", "init_main_from_name", "init_main_from_path")

_keepers: dict[Pool, AsyncGenerator[None, None]] = {}
_refused = ""  # why there can be no nursery
_chosen: dict[asyncio.AbstractEventLoop, Settings] = {}


def choose(loop: asyncio.AbstractEventLoop, settings: Settings | None) -> None:
    """Let a pool that is made for this loop have these settings; None: those of variables and files, as others have."""
    if settings is None:
        _chosen.pop(loop, None)
    else:
        _chosen[loop] = settings


def refuse(reason: str) -> None:
    """Refuse nurseries in this process, for a reason; an empty one: no longer."""
    global _refused
    _refused = reason


def make_pool(function: Callable[..., Any], on_close: Callable[[Pool], None]) -> Pool:
    """A pool for the running loop, closed with it. Its settings come from `PREFORK_OFFLOAD_…` variables and files, as
    for the server. The module of `function` is imported before the first offloader is forked. Raises UsageError."""
    loop = asyncio.get_running_loop()
    settings = _chosen.get(loop) or load({}, os.environ, Path()).settings
    spawner = NurserySpawner(loop, settings, [function.__module__])
    pool = Pool(settings, lambda pool: make_backend(pool, spawner, workers=1))
    keeper = _keepers[pool] = _close_with_loop(pool, on_close)
    try:
        keeper.__anext__().send(None)  # up to its yield; from then on the loop knows it
    except StopIteration:
        pass
    pool.backend.start()
    return pool


async def close_pool(pool: Pool) -> None:
    """Close a pool that `make_pool` has made before its loop is; the next job gets a new one."""
    await _keepers[pool].aclose()


async def _close_with_loop(pool: Pool, on_close: Callable[[Pool], None]) -> AsyncGenerator[None, None]:
    """Goes no further by itself: `loop.shutdown_asyncgens()`, which asyncio.run() calls, closes it, and so the pool."""
    try:
        yield
    finally:
        del _keepers[pool]
        on_close(pool)
        await pool.close()


class NurserySpawner(ChannelSpawner):
    """Starts the nursery with the first order, and anew when it has died."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, settings: Settings, modules: Sequence[str], role: str = "offloader"
    ) -> None:
        """`modules` are imported before the first process is forked. Raises RuntimeError where it is refused."""
        if _refused:
            raise RuntimeError(_refused)
        self._settings = settings
        self._modules = list(modules)
        self._process: subprocess.Popen[bytes] | None = None
        self._living: set[int] = set()  # processes that were ordered and are not gone
        super().__init__(self._start_channel(), loop, role)

    def order(self, number: int, descriptors: Sequence[int]) -> None:
        self._living.add(number)
        super().order(number, descriptors)

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        try:
            if self._process is None:
                if not isinstance(message, WantProcess | WantActor):
                    return  # it is about what has died with the nursery
                self._start()
        except OSError as error:
            self._loop.call_soon(self._lost, f"the nursery cannot start: {error.strerror}")
            return
        super().send(message, descriptors)

    def hear(self, message: Message, descriptors: list[int]) -> None:
        if isinstance(message, ProcessGone):
            self._living.discard(message.number)
        super().hear(message, descriptors)

    def close(self) -> None:
        if self._process is not None:
            self._loop.remove_reader(self._channel.fileno())
            self._channel.close()  # which is how it learns of it
            self._process.wait()
        else:
            self._channel.close()
            self._theirs.close()

    def _start_channel(self) -> Channel:
        ours, self._theirs = Channel.pair()
        return ours

    def _start(self) -> None:
        start = os.memfd_create("prefork-start")
        try:
            named = named_memory.known()  # of the program: the same memory for what is forked for it
            os.write(start, pickle.dumps((self._settings, _preparation(), self._modules, named)))
            os.lseek(start, 0, os.SEEK_SET)
            passed = (self._theirs.fileno(), start)
            self._process = subprocess.Popen(
                [sys.executable, "-m", PROGRAM, *map(str, passed)],
                stdin=subprocess.DEVNULL,
                pass_fds=[*passed, *(region.descriptor for region in named)],
                start_new_session=True,  # Ctrl-C in a terminal is for the program
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        finally:
            os.close(start)
        self._theirs.close()
        self._loop.add_reader(self._channel.fileno(), self._read)

    def _read(self) -> None:
        try:
            while received := self._channel.receive():
                self.hear(*received)
        except ChannelClosed:
            self._died()

    def _died(self) -> None:
        """The nursery is gone, and with it what it had forked (PR_SET_PDEATHSIG)."""
        assert self._process is not None
        self._loop.remove_reader(self._channel.fileno())
        self._channel.close()
        words = f"the nursery died: exit status {self._process.wait()}"
        self._process = None
        self._channel = self._start_channel()
        self._unsent.clear()  # the next nursery would fork them, for nobody
        self._lost(words)

    def _lost(self, reason: str) -> None:
        for number in list(self._living):
            self._gone(number, reason)
        if self.on_lost is not None:
            self.on_lost(reason)

    def _gone(self, number: int, reason: str) -> None:
        self._living.discard(number)
        self.on_gone(number, int(signal.SIGKILL), False, reason)


def _preparation() -> dict[str, Any]:
    """What a fresh interpreter needs to import our main module, as multiprocessing's own start method has it."""
    preparation = spawn.get_preparation_data("prefork-nursery")
    return {key: preparation[key] for key in _PREPARED if key in preparation}
