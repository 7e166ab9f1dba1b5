"""The offloader: a process that runs CPU-heavy jobs for one worker, one at a time. No event loop."""

import os
import signal
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn

from prefork.jobs import client
from prefork.jobs.runner import Runner
from prefork.settings import Settings
from prefork.system import log, process
from prefork.system.channel import adopt
from prefork.system.tracebacks import app_traceback

STANDARD: Final = 2  # the last of the standard streams


@dataclass(frozen=True, slots=True)
class OffloaderStart:
    """What an offloader has from the process it was forked from, and the descriptors that came with the order."""

    settings: Settings
    parent: int  # pid of the one who reaps it
    channel: int
    stacks: int
    log_file: int | None = None  # descriptor
    slot: int | None = None  # of its worker
    generation: int | None = None


def run_offloader(start: OffloaderStart, prepare: Callable[[], None]) -> NoReturn:
    """The life of an offloader, in a fresh child. `prepare` imports what jobs need and is not there yet."""
    process.die_with_parent(start.parent)
    process.become_child()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    process.lead_group()
    process.become_subreaper()  # what a job leaves behind is ours to end
    process.reseed()
    _let_go_of_inherited({start.channel, start.stacks, start.log_file})
    process.watch_end(start.stacks)
    log.identify("offloader", start.slot, start.generation)
    process.set_title(log.title("offloader", start.slot, start.generation))
    channel = adopt(start.channel)
    channel.setblocking(True)
    runner = Runner(channel, start.settings)
    client.forbid("offload() within a job: an offloader runs one job at a time; call the function itself")
    code = 0
    try:
        try:
            prepare()
            runner.start()
        except BaseException as error:
            runner.not_ready(app_traceback(error))
            process.leave(1)
        runner.serve()
        code = runner.stop()
    finally:
        process.leave(code)


def _let_go_of_inherited(own: set[int | None]) -> None:
    """Drop what the import of the app left open and two processes cannot share: sockets, pipes, event loops.

    In its place comes /dev/null: closed, its number would soon be something of ours, and who still has the object
    would write into that. Files stay: they are the app's, and so is the code that will run here.
    """
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        if descriptor <= STANDARD or descriptor in own or descriptor == null:
            continue
        try:
            kind = os.fstat(descriptor).st_mode
        except OSError:  # the one it took to list them
            continue
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind) or stat.S_ISCHR(kind)):
            os.dup2(null, descriptor, inheritable=False)
    os.close(null)
