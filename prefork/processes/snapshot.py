"""What the server is doing right now, from the master's books, as the structs of `control/status.py`."""

import os
import time
from collections import Counter
from collections.abc import Sequence
from typing import Final, Protocol

from prefork import __version__
from prefork.control.status import (
    ConnectionsStatus,
    JobsStatus,
    MoldStatus,
    RequestStatus,
    ServerState,
    ServerStatus,
    SlotStatus,
    WorkerStatus,
)
from prefork.core.roster import WorkerHandle
from prefork.metrics import ours
from prefork.metrics.kinds import SECONDS
from prefork.processes.places import Places
from prefork.processes.supervisor import Supervisor
from prefork.processes.totals import Answers, Totals
from prefork.settings import Settings
from prefork.system import cgroup
from prefork.system.usage import Usage, usage

OFFLOADED: Final = ""  # the actor of jobs that are no calls of one
_NOTHING: Final = Usage(rss=0, cpu=0.0, started=0.0)


class Master(Protocol):
    """What it needs of the master itself."""

    @property
    def state(self) -> ServerState: ...

    @property
    def upgrading(self) -> bool: ...


class Snapshot:
    """Reads the supervisor's books; changes nothing."""

    def __init__(
        self,
        settings: Settings,
        target: str,
        addresses: Sequence[str],
        supervisor: Supervisor,
        places: Places,
        master: Master,
    ) -> None:
        """`addresses` are those of the server."""
        self.name = ""  # of the server
        self.admin: str | None = None  # where the admin server listens
        self._settings = settings
        self._target = target
        self._master = master
        self._addresses = list(addresses)
        self._supervisor = supervisor
        self._totals = Totals(places)
        self._started_at = time.time()

    def server(self) -> ServerStatus:
        now = time.monotonic()
        supervisor = self._supervisor
        roster = supervisor.roster
        self._totals.look()
        return ServerStatus(
            name=self.name,
            version=__version__,
            target=self._target,
            pid=os.getpid(),
            state=self._master.state,
            generation=roster.generation,
            started_at=self._started_at,
            now=time.time(),
            cpus=cgroup.usable_cpus(),
            wanted=roster.wanted,
            low=supervisor.scaling.limits.low,
            high=supervisor.scaling.limits.high,
            addresses=self._addresses,
            admin=self.admin,
            bounds=list(SECONDS),
            workers=self.workers(now),
            slots=self._slots(),
            molds=[
                MoldStatus(generation=mold.generation, pid=mold.pid, ready=mold.ready, age=now - mold.ordered_at)
                for mold in supervisor.molds
                if not mold.released
            ],
            connections=self._connections(),
            jobs=self._jobs(),
            canary=supervisor.canaries.status(now),
            upgrading=self._master.upgrading,
            lost_lines=self._totals.count(ours.lost_lines),
        )

    def workers(self, now: float) -> list[WorkerStatus]:
        """By slot, the older one first."""
        handles = sorted(self._supervisor.roster, key=lambda handle: (handle.slot, handle.serial))
        canary = self._supervisor.roster.canary
        return [self._worker(handle, now, None if canary is None else canary.generation) for handle in handles]

    def requests(self) -> list[RequestStatus]:
        """Those in flight, oldest first, their targets without what may be secret."""
        now = time.monotonic()
        found = [
            RequestStatus(
                slot=link.handle.slot,
                pid=link.handle.pid,
                request=record.request.partition("?")[0],
                age=max(0.0, record.age),
            )
            for link in self._supervisor.links.values()
            for record in link.board.in_flight(now)
        ]
        return sorted(found, key=lambda request: -request.age)

    def _worker(self, handle: WorkerHandle, now: float, canary: int | None) -> WorkerStatus:
        link = self._supervisor.links.get(handle.serial)
        board = None if link is None else link.board
        in_flight = [] if board is None else board.in_flight(now)
        used = (usage(handle.pid) if handle.pid else None) or _NOTHING
        beats = board is not None and handle.ready_at is not None
        return WorkerStatus(
            slot=handle.slot,
            generation=handle.generation,
            pid=handle.pid,
            state=handle.state.value,
            age=now - handle.ordered_at,
            beat_age=max(0.0, now - board.last_beat) if board is not None and beats else None,
            connections=0 if link is None else link.load,
            in_flight=len(in_flight),
            oldest=max(0.0, in_flight[0].age) if in_flight else 0.0,
            busy=0.0 if board is None else board.busy,
            lag=0.0 if board is None else board.lag,
            lag_peak=0.0 if board is None else board.lag_peak,
            rss=used.rss,
            cpu=used.cpu,
            retiring=handle.retiring,
            canary=canary == handle.generation,
        )

    def _slots(self) -> list[SlotStatus]:
        answers = self._totals.answers()
        roster = self._supervisor.roster
        slots = sorted({slot for slot in answers if slot >= 0}.union(roster.started))
        return [_slot(slot, answers.get(slot, Answers()), max(0, roster.started[slot] - 1)) for slot in slots]

    def _connections(self) -> ConnectionsStatus:
        supervisor, totals = self._supervisor, self._totals
        return ConnectionsStatus(
            open=sum(link.load for link in supervisor.links.values()),
            waiting=supervisor.handout.held,
            accepted=totals.count(ours.accepted),
            handed_out=totals.count(ours.handed_out),
            taken_back=totals.count(ours.taken_back),
            handed_back=totals.count(ours.handed_back),
            refused=totals.count(ours.refused_connections),
        )

    def _jobs(self) -> JobsStatus:
        totals = self._totals
        ended: Counter[str] = Counter()
        for labels, count in totals.counts(ours.jobs_ended, OFFLOADED).items():
            ended[labels[-1]] += count
        return JobsStatus(
            waiting=totals.count(ours.jobs_waiting, OFFLOADED),
            running=totals.count(ours.jobs_running, OFFLOADED),
            offloaders=sum(owned.role == "offloader" for owned in self._supervisor.owned),
            ended=dict(ended),
            wait_buckets=totals.buckets(ours.job_wait, OFFLOADED),
            run_buckets=totals.buckets(ours.job_run, OFFLOADED),
        )


def _slot(slot: int, answers: Answers, restarts: int) -> SlotStatus:
    return SlotStatus(
        slot=slot,
        requests=answers.requests,
        errors=answers.errors,
        seconds=answers.seconds,
        buckets=answers.buckets,
        restarts=restarts,
    )
