"""The life of a forked child: find the target, tell the parent, call it, tell what it raised."""

import asyncio
import inspect
import logging
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

import uvloop

from prefork.children.forks import packets
from prefork.children.forks.line import Line
from prefork.children.forks.targets import resolve
from prefork.children.forks.to_parent import ParentGone, open_line, parent
from prefork.errors import ChildError, ChildNotStarted
from prefork.jobs import failures
from prefork.system.tracebacks import app_traceback

_log = logging.getLogger("prefork.child")


def live(channel: socket.socket, prepare: Callable[[], None]) -> int:
    """Run the target that the parent has named. Returns the exit code. `channel` blocks; `prepare` imports what is to
    be there before it."""
    try:
        name, line = open_line(channel)
    except EOFError:
        return 0  # the parent needs us no more
    try:
        prepare()
        function = resolve(name)
        _, args = line.take(0)
    except EOFError:
        return 0
    except BaseException as error:
        ours = isinstance(error, ChildNotStarted)
        words = str(error) if ours else f"{name} cannot be called:\n{app_traceback(error).rstrip()}"
        _tell(line, packets.NOT_READY, words)
        return 1
    parent.attach(line)
    _tell(line, packets.READY, os.getpid())
    try:
        call_target(function, args)
    except SystemExit as error:
        return _status(error)
    except BaseException as error:
        if _of_parent(error):
            _log.debug("%s: the parent has disconnected", name)
            return 0
        line.fail(failures.take(error))
        _log.error("%s has raised:\n%s", name, app_traceback(error).rstrip())
        return 1
    return 0


def call_target(function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """Run the app's code. Stacks are shown down to here."""
    # What it returns tells, and not what it is: a decorated `async def` looks like a `def`.
    returned = function(*args)
    if inspect.iscoroutine(returned):
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(returned)


def _tell(line: Line, kind: int, value: Any) -> None:
    """One of our first packets, for which there is room."""
    packet = packets.pack(kind, value)
    try:
        line.offer(packet)
    except (BrokenPipeError, ChildError):
        pass  # the parent has gone: the target will see that, or we end now
    finally:
        packet.close()


def _of_parent(error: BaseException) -> bool:
    """Whether it tells that the parent has gone, and nothing else; several tasks of a TaskGroup may do so."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(ParentGone)[1] is None
    return isinstance(error, ParentGone)


def _status(error: SystemExit) -> int:
    """As the interpreter takes it."""
    if error.code is None or isinstance(error.code, int):
        return (error.code or 0) & 0xFF
    sys.stderr.write(f"{error.code}\n")
    return 1
