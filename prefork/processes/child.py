"""Fork a direct child of the master, with a channel to it and a pipe for its stacks."""

import logging
import os
from collections.abc import Callable
from typing import NoReturn

from prefork.processes.stacks import StacksPipe
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
