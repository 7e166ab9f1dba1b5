"""A direct child of the master: its fork, with a channel to it and a pipe for its stacks, and its first steps."""

import logging
import os
import signal
from collections.abc import Callable, Iterable
from typing import NoReturn

from prefork.processes.stacks import StacksPipe
from prefork.processes.surroundings import drop
from prefork.settings import Settings
from prefork.system import log, process
from prefork.system.channel import Channel

_log = logging.getLogger("prefork.child")

Become = Callable[[Channel, int], NoReturn]  # takes the child's end of the channel, and the descriptor for stacks


def fork_child(become: Become) -> tuple[int, Channel, StacksPipe]:
    """Run `become` in a child; returns its pid and our ends. The master has no threads, so it may. Raises OSError."""
    ours, theirs = Channel.pair()
    pipe = StacksPipe()
    try:
        pid = os.fork()
    except OSError:
        ours.close()
        theirs.close()
        pipe.forget_write_end()
        pipe.close()
        raise
    if pid == 0:
        try:
            become(theirs, pipe.write_end)
        except BaseException:
            _log.exception("cannot run a child of the master")
        finally:
            os._exit(1)  # never up into the master's frames
    theirs.close()
    pipe.forget_write_end()
    return pid, ours, pipe


def begin_kept(role: str, settings: Settings, master: int, stacks: int, others: Iterable[int]) -> None:
    """What the watcher and the admin do first: keep no rights and no descriptors but their own. `others`: descriptors
    beside the one for stacks; `master`: pid."""
    drop(settings)
    process.die_with_parent(master)
    process.become_child()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a service manager tells the whole group; the master decides
    process.close_descriptors_except([stacks, *others])
    log.identify(role)
    process.set_title(log.title(role))
    process.watch_stacks(stacks)
