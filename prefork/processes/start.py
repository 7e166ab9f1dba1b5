"""What a forked process knows from the start."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prefork.messages import Fork
from prefork.settings import Settings
from prefork.system.listeners import Listener
from prefork.system.log import LogFile

if TYPE_CHECKING:
    from prefork.system.tls import Certificates  # the master, too, imports this file


@dataclass(frozen=True, slots=True)
class MoldStart:
    """What a mold has from the master it was forked from."""

    settings: Settings
    target: str
    generation: int
    master: int  # pid
    workers: int  # as many as were wanted when the server started; of MIN:MAX the first (see Share)
    max_connections: int  # a worker
    families: Sequence[int]  # address family of each listener, by its index
    log_file: LogFile
    ledger: int | None = None  # descriptor
    broken: str = ""  # why there is no app: shown in its place (--reload)
    certificates: "Certificates | None" = None  # read by the mold: its workers share the keys of session tickets


@dataclass(frozen=True, slots=True)
class AdminStart:
    """What the admin has from the master it was forked from."""

    settings: Settings
    listeners: Sequence[Listener]
    ends: Sequence[socket.socket]  # of lines to the master's control server
    master: int  # pid
    log_file: LogFile
    ledger: int | None  # descriptor
    history: int  # descriptor of a ring


@dataclass(frozen=True, slots=True)
class WatcherStart:
    """What a watcher has from the master it was forked from."""

    settings: Settings
    folders: list[str]  # absolute paths
    since: float  # seconds of the epoch: what changed later is news
    master: int  # pid
    log_file: LogFile


class WorkerStart:
    """What a worker has from its mold, and the descriptors that came with the order to fork it."""

    def __init__(self, mold: MoldStart, order: Fork, descriptors: Sequence[int]) -> None:
        """`descriptors` as `WorkerLink.worker_descriptors` lists them, then the listeners of the slot, if any."""
        self.mold = mold
        self.settings = mold.settings
        self.slot = order.slot
        self.generation = order.generation
        self.place = order.place
        self.channel, self.queue, self.stacks, self.scoreboard, self.sheet = descriptors[:5]
        self.listeners = list(descriptors[5:])
