"""What `prefork top` shows, worked out from the statuses that came so far: a rate is the difference of two. No terminal
here, and no clock: the server's own time stands in each status."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from prefork.control.history import lag, quantile
from prefork.control.status import EventStatus, JobStatus, RequestStatus, ServerStatus, SlotStatus, WorkerStatus
from prefork.core.histogram import since, together

RATE_SECONDS: Final = 3.0  # requests a second of one second jump
QUANTILE_SECONDS: Final = 10.0  # fewer requests than that say nothing about a p99
STATUSES: Final = 30  # kept at most, however often a server is looked at
EVENTS: Final = 200


@dataclass(frozen=True, slots=True)
class Row:
    """One worker."""

    worker: WorkerStatus
    rate: float | None  # requests a second of its slot; None while another one serves there, or nothing is known yet
    p50: float | None
    p99: float | None
    cpu: float | None  # share of a core
    memory: int  # bytes; PSS where it could be read, else RSS

    @property
    def lag(self) -> float | None:
        """The most of the last second or two; None before its first beat."""
        return None if self.worker.beat_age is None else lag(self.worker)


@dataclass(frozen=True, slots=True)
class Frame:
    """All of it at one moment."""

    status: ServerStatus
    rows: list[Row]  # by slot, the older one first
    rate: float | None
    errors: float | None
    p50: float | None
    p99: float | None
    cpu: float | None  # in cores, of all workers
    memory: int
    proportional: bool  # all memory is PSS
    jobs: list[JobStatus] = field(default_factory=list)  # the oldest first
    requests: list[RequestStatus] = field(default_factory=list)  # in flight, the oldest first
    events: list[EventStatus] = field(default_factory=list)  # the latest last


class Frames:
    """Takes statuses in, gives frames out."""

    def __init__(self) -> None:
        self._statuses: deque[ServerStatus] = deque(maxlen=STATUSES)
        self._events: deque[EventStatus] = deque(maxlen=EVENTS)

    @property
    def last_event(self) -> int:
        """The number to ask for newer ones with; 0 before the first."""
        return self._events[-1].number if self._events else 0

    def take(self, status: ServerStatus, events: Sequence[EventStatus]) -> bool:
        """What a server tells now. Returns whether it is another server than before, whose events begin anew."""
        other = bool(self._statuses) and self._statuses[-1].started_at != status.started_at
        if other:
            self._statuses.clear()
            self._events.clear()
        self._statuses.append(status)
        last = self.last_event
        self._events.extend(event for event in events if event.number > last)
        return other

    def frame(
        self,
        jobs: Sequence[JobStatus] = (),
        requests: Sequence[RequestStatus] = (),
        memory: Mapping[int, int | None] | None = None,
    ) -> Frame:
        """The frame of the last status. `memory` is PSS by pid, of those that may be looked at."""
        now = self._statuses[-1]
        rates, quantiles = self._before(RATE_SECONDS), self._before(QUANTILE_SECONDS)
        earlier = {slot.slot: slot.buckets for slot in quantiles.slots} if quantiles else {}
        buckets = (
            {slot.slot: since(slot.buckets, earlier.get(slot.slot, [])) for slot in now.slots} if quantiles else {}
        )
        known = memory or {}
        rows = [self._row(worker, now, rates, buckets, known) for worker in now.workers]
        of_all = together(buckets.values())
        shares = [row.cpu for row in rows if row.cpu is not None]
        return Frame(
            status=now,
            rows=rows,
            rate=_rate(now, rates, lambda slot: slot.requests),
            errors=_rate(now, rates, lambda slot: slot.errors),
            p50=quantile(now.bounds, of_all, 0.5),
            p99=quantile(now.bounds, of_all, 0.99),
            cpu=sum(shares) if shares else None,
            memory=sum(row.memory for row in rows),
            proportional=all(known.get(worker.pid or 0) is not None for worker in now.workers),
            jobs=sorted(jobs, key=lambda job: -job.age),
            requests=sorted(requests, key=lambda request: -request.age),
            events=list(self._events),
        )

    def _before(self, seconds: float) -> ServerStatus | None:
        """The status from about so long ago, or as long as there is one; None with a single one."""
        now = self._statuses[-1]
        found = None
        for status in reversed(self._statuses):
            if status.now < now.now:
                found = status
                if now.now - status.now >= seconds:
                    break
        return found

    def _row(
        self,
        worker: WorkerStatus,
        now: ServerStatus,
        before: ServerStatus | None,
        buckets: Mapping[int, list[int]],
        memory: Mapping[int, int | None],
    ) -> Row:
        # The latest one of a slot gets the slot's figures.
        serves = [other for other in now.workers if other.slot == worker.slot][-1] is worker
        counts = buckets.get(worker.slot, []) if serves else []
        pss = memory.get(worker.pid or 0)
        return Row(
            worker=worker,
            rate=_rate(now, before, lambda slot: slot.requests, worker.slot) if serves else None,
            p50=quantile(now.bounds, counts, 0.5),
            p99=quantile(now.bounds, counts, 0.99),
            cpu=_cpu(worker, now, before),
            memory=worker.rss if pss is None else pss,
        )


def _rate(
    now: ServerStatus, before: ServerStatus | None, number: Callable[[SlotStatus], int], slot: int | None = None
) -> float | None:
    if before is None:
        return None
    after, earlier = (sum(number(one) for one in status.slots if slot in (None, one.slot)) for status in (now, before))
    return max(0, after - earlier) / (now.now - before.now)


def _cpu(worker: WorkerStatus, now: ServerStatus, before: ServerStatus | None) -> float | None:
    """Since it was looked at before; of one that is new, since it was ordered."""
    if before is None:
        return None
    earlier = next((one for one in before.workers if one.pid == worker.pid), None)
    seconds = now.now - before.now
    if earlier is None:
        return worker.cpu / max(worker.age, 0.1)
    return max(0.0, worker.cpu - earlier.cpu) / seconds
