"""What the last hour was like, second by second: a sample is the difference between two looks at the server."""

from collections import deque
from collections.abc import Sequence
from itertools import takewhile
from typing import Final

import msgspec
from msgspec import Struct

from prefork.control.status import JobsStatus, ServerStatus, SlotStatus, WorkerStatus
from prefork.core import histogram
from prefork.core.histogram import since, together
from prefork.system.ring import Ring

SAMPLES: Final = 3600  # an hour
STEP_SECONDS: Final = 1.0
SAMPLE_BYTES: Final = 512  # at most, of one without slots; see `bytes_needed`
SLOT_BYTES: Final = 128  # at most, of a slot in it
LARGEST_BYTES: Final = 32 * 1024 * 1024  # of all samples; with more than 70 workers it is less than an hour that fits

_FAULTS: Final = ("failed", "timed out", "crashed", "refused")  # how jobs end that somebody waits for in vain


class SlotSample(Struct, frozen=True, kw_only=True):
    """One slot: requests a second, and what its worker had then."""

    requests: float
    in_flight: int = 0
    connections: int = 0
    lag: float = 0.0
    busy: float = 0.0
    rss: int = 0


class JobsSample(Struct, frozen=True, kw_only=True):
    """Offloaded jobs: `done` and `failed` a second; times in seconds, None where no job began or ended."""

    waiting: int
    running: int
    done: float
    failed: float
    wait_p99: float | None
    run_p50: float | None
    run_p99: float | None


class Sample(Struct, frozen=True, kw_only=True):
    """One second of a server: `requests` and `errors` (of these, answered with 5xx) a second; percentiles of the time
    its requests took in seconds, None without requests; the other numbers as of its end."""

    at: float  # seconds of the epoch, its end
    requests: float
    errors: float
    p50: float | None
    p90: float | None
    p99: float | None
    slots: dict[int, SlotSample]
    jobs: JobsSample
    connections: int
    workers: int  # ready
    pss: int | None = None  # bytes, of the whole tree


def sample(before: ServerStatus, after: ServerStatus, pss: int | None = None) -> Sample | None:
    """What happened between two looks; None when no time has passed, or the clock was set back."""
    seconds = after.now - before.now
    if seconds <= 0:
        return None
    earlier = {slot.slot: slot for slot in before.slots}
    buckets = together(
        since(slot.buckets, earlier[slot.slot].buckets if slot.slot in earlier else []) for slot in after.slots
    )
    old, bounds = before.jobs, after.bounds
    waited, ran = since(after.jobs.wait_buckets, old.wait_buckets), since(after.jobs.run_buckets, old.run_buckets)
    return Sample(
        at=round(after.now, 3),
        requests=_rate(sum(s.requests for s in after.slots), sum(s.requests for s in before.slots), seconds),
        errors=_rate(sum(s.errors for s in after.slots), sum(s.errors for s in before.slots), seconds),
        p50=quantile(bounds, buckets, 0.5),
        p90=quantile(bounds, buckets, 0.9),
        p99=quantile(bounds, buckets, 0.99),
        slots=_slots(earlier, after.slots, after.workers, seconds),
        jobs=JobsSample(
            waiting=after.jobs.waiting,
            running=after.jobs.running,
            done=_rate(after.jobs.ended.get("done", 0), old.ended.get("done", 0), seconds),
            failed=_rate(_faults(after.jobs), _faults(old), seconds),
            wait_p99=quantile(bounds, waited, 0.99),
            run_p50=quantile(bounds, ran, 0.5),
            run_p99=quantile(bounds, ran, 0.99),
        ),
        connections=after.connections.open,
        workers=sum(worker.state == "ready" for worker in after.workers),
        pss=pss,
    )


def quantile(bounds: Sequence[float], counts: Sequence[int], share: float) -> float | None:
    """As `core.histogram.quantile`, to the microsecond."""
    found = histogram.quantile(bounds, counts, share)
    return None if found is None else round(found, 6)


def lag(worker: WorkerStatus) -> float:
    """The most since the last look; of a stalled worker, for how long it has been silent: the rest is from before."""
    if worker.state == "stalled" and worker.beat_age is not None:
        return worker.beat_age
    return max(worker.lag, worker.lag_peak)


def bytes_needed(workers: int) -> int:
    """Memory for an hour of samples with so many slots."""
    return min(LARGEST_BYTES, SAMPLES * (SAMPLE_BYTES + SLOT_BYTES * workers))


class History:
    """The samples of the last hour as JSON, as far as they fit: written once, read by every dashboard."""

    def __init__(self, store: Ring | None = None, most: int = LARGEST_BYTES) -> None:
        """What an earlier process has left in `store` is taken over. `most` bytes are kept."""
        self._store = store
        self._most = most
        self._bytes = 0
        self._samples: deque[tuple[float, bytes]] = deque()
        for record in () if store is None else store:
            self._keep(_at.decode(record).at, record)

    def __len__(self) -> int:
        return len(self._samples)

    def add(self, sample: Sample) -> None:
        record = msgspec.json.encode(sample)
        self._keep(sample.at, record)
        if self._store is not None:
            self._store.append(record)

    def _keep(self, at: float, record: bytes) -> None:
        # The clock was set back: what it has called later than now is in nobody's order any more.
        while self._samples and self._samples[-1][0] >= at:
            self._bytes -= len(self._samples.pop()[1])
        self._samples.append((at, record))
        self._bytes += len(record)
        while len(self._samples) > SAMPLES or self._bytes > self._most:
            self._bytes -= len(self._samples.popleft()[1])

    def newer(self, at: float) -> list[bytes]:
        """The samples after that time (seconds of the epoch), the oldest first."""
        found = [record for _, record in takewhile(lambda entry: entry[0] > at, reversed(self._samples))]
        return found[::-1]


class _At(Struct):
    at: float


_at: Final = msgspec.json.Decoder(_At)


def _slots(
    earlier: dict[int, SlotStatus], slots: Sequence[SlotStatus], workers: Sequence[WorkerStatus], seconds: float
) -> dict[int, SlotSample]:
    """While a slot is replaced it has two workers: what they hold is added, and the later and busier one counts."""
    found = {}
    for slot in slots:
        its = [worker for worker in workers if worker.slot == slot.slot]
        before = earlier[slot.slot].requests if slot.slot in earlier else 0
        found[slot.slot] = SlotSample(
            requests=_rate(slot.requests, before, seconds),
            in_flight=sum(worker.in_flight for worker in its),
            connections=sum(worker.connections for worker in its),
            lag=round(max((lag(worker) for worker in its), default=0.0), 6),
            busy=round(max((worker.busy for worker in its), default=0.0), 4),
            rss=sum(worker.rss for worker in its),
        )
    return found


def _rate(after: int, before: int, seconds: float) -> float:
    return round(max(0, after - before) / seconds, 2)


def _faults(jobs: JobsStatus) -> int:
    return sum(jobs.ended.get(how, 0) for how in _FAULTS)
