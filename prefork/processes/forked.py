"""A forked child: a process that runs a function of the app for a worker, and talks to it."""

import logging
import os
import pickle
import sys
from collections.abc import Callable, Sequence
from multiprocessing import spawn
from typing import Any, Final, NamedTuple, NoReturn

from prefork.children.forks.life import live
from prefork.children.forks.to_parent import wants_fresh
from prefork.jobs import client
from prefork.processes.owned_start import OwnedStart, begin_owned
from prefork.settings import Settings
from prefork.system import named_memory, process
from prefork.system.channel import adopt

PROGRAM: Final = "prefork.processes.fresh"
_PATH: Final = ("sys_path", "sys_argv", "orig_dir", "dir")
_MAIN: Final = ("init_main_from_name", "init_main_from_path")


class FreshStart(NamedTuple):
    """What a new interpreter has to know, from a file."""

    settings: Settings
    parent: int  # pid of the one who reaps it
    slot: int | None
    generation: int | None
    preparation: dict[str, Any]  # for multiprocessing.spawn: the path, and in a plain program its main module
    python_path: str | None  # PYTHONPATH as it was
    named: Sequence[named_memory.Region]  # shared memory by name


_log = logging.getLogger("prefork.child")


def run_child(start: OwnedStart, prepare: Callable[[], None]) -> NoReturn:
    """The life of a forked child. `prepare` imports what the app has and is not there yet."""
    begin_owned(start)
    code = 1
    try:
        channel = adopt(start.channel)
        channel.setblocking(True)
        client.forbid("")  # what a nursery has forbidden
        if wants_fresh(channel):
            become_fresh(start)
        code = live(channel, prepare)
    except BaseException:
        _log.exception("a child could not be started")
    finally:
        process.leave(code)


def become_fresh(start: OwnedStart) -> NoReturn:
    """Put a new interpreter in our place (execve(2)); parent, group and the wish to die with the parent stay ours."""
    app_dir = os.path.abspath(start.settings.app_dir)
    if start.slot is not None and app_dir not in sys.path:  # without preload, nobody has imported the app here
        sys.path.insert(0, app_dir)
    preparation = spawn.get_preparation_data("prefork-child")
    wanted = _PATH if start.slot is not None else _PATH + _MAIN  # a worker's main module is prefork's
    told = FreshStart(
        start.settings,
        start.parent,
        start.slot,
        start.generation,
        {key: preparation[key] for key in wanted if key in preparation},
        os.environ.get("PYTHONPATH"),
        named_memory.known(),
    )
    file = os.memfd_create("prefork-start", 0)
    os.write(file, pickle.dumps(told))
    os.lseek(file, 0, os.SEEK_SET)
    for descriptor in (start.channel, start.stacks, *(region.descriptor for region in told.named)):
        os.set_inheritable(descriptor, True)
    command = [sys.executable, "-m", PROGRAM, str(start.channel), str(start.stacks), str(file)]
    os.execve(sys.executable, command, {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))})
