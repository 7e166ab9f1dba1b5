"""What every process does first that is forked for a worker and belongs to it."""

import os
import signal
import stat
from dataclasses import dataclass
from typing import Final

from prefork.children import home
from prefork.children.actors import declared
from prefork.processes.places import NOWHERE, adopt
from prefork.settings import Settings
from prefork.system import log, process

STANDARD: Final = 2  # the last of the standard streams


@dataclass(frozen=True, slots=True)
class OwnedStart:
    """What such a process has from the one it was forked from, and the descriptors that came with the order."""

    role: str
    settings: Settings
    parent: int  # pid of the one who reaps it
    channel: int
    stacks: int
    log_file: int | None = None  # descriptor
    slot: int | None = None  # of its worker
    generation: int | None = None
    ledger: int | None = None  # descriptor
    place: int = NOWHERE


def begin_owned(start: OwnedStart) -> None:
    """Drop what is not our own, and lead a process group, so that all we start can be ended with us."""
    process.die_with_parent(start.parent)
    process.become_child()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    process.lead_group()
    process.become_subreaper()  # what we leave behind is ours to end
    process.reseed()
    _let_go_of_inherited({start.channel, start.stacks, start.log_file})
    adopt(start.ledger, start.place, start.generation)
    process.watch_end(start.stacks)
    log.identify(start.role, start.slot, start.generation)
    process.set_title(log.title(start.role, start.slot, start.generation))
    home.use(start.settings)
    declared.forbid(f"what the app declares can be called from its workers, and this process is none ({start.role})")


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
