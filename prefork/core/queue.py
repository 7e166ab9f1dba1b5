"""Decide which job runs next, which is refused, and which is tried again. No processes here, and no clock."""

from collections import Counter
from collections.abc import Iterator
from heapq import heappop, heappush
from math import ceil
from typing import Final, Generic, Protocol, TypeVar

MOST_DEATHS: Final = 2  # of processes under one job: it is the job that kills them
SMOOTHING: Final = 8  # the moving average is that of about so many jobs


class Queued(Protocol):
    """What the queue needs to know of a job."""

    number: int
    priority: int


J = TypeVar("J", bound=Queued)


class JobQueue(Generic[J]):
    """Jobs that wait, highest priority first, then in order of submission; bounded in count and in waiting time."""

    def __init__(self, most: int, wait_seconds: float, processes: int) -> None:
        """`most` jobs wait, none longer than `wait_seconds` by estimate, for so many `processes`."""
        self.most = most
        self.wait_seconds = wait_seconds
        self.processes = processes
        self.running = 0
        self.average = 0.0  # seconds a job runs, moving
        self._heap: list[tuple[int, int, J]] = []
        self._waiting: dict[int, J] = {}  # by number; the heap may hold more, which have left
        self._levels: Counter[int] = Counter()  # how many wait, by priority

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[J]:
        """The jobs that wait, in the order they will be taken."""
        return (job for _, _, job in sorted(self._heap, key=lambda entry: entry[:2]) if job.number in self._waiting)

    def full(self) -> bool:
        """Whether there is no room for another. A job that a process can take at once needs none."""
        return len(self._waiting) >= self.most and len(self._waiting) + self.running >= self.processes

    def estimate(self, priority: int) -> float:
        """Seconds until a job submitted now would begin: jobs that must end before ÷ processes × average run time."""
        ahead = self.running
        for level, count in self._levels.items():  # few: most apps have one
            if level >= priority:
                ahead += count
        if ahead < self.processes:
            return 0.0
        return (ahead + 1 - self.processes) / self.processes * self.average

    def put(self, job: J) -> None:
        """Add a job, or put one back: it then stands where it stood."""
        self._waiting[job.number] = job
        self._levels[job.priority] += 1
        heappush(self._heap, (-job.priority, job.number, job))

    def pop(self) -> J | None:
        """Take the next job; None when nothing waits."""
        while self._heap:
            _, number, job = heappop(self._heap)
            if self._leave(number):
                return job
        return None

    def peek(self) -> J | None:
        """The next job, which stays."""
        while self._heap and self._heap[0][1] not in self._waiting:
            heappop(self._heap)
        return self._heap[0][2] if self._heap else None

    def remove(self, job: J) -> None:
        """It waits no longer."""
        self._leave(job.number)
        if len(self._heap) > 2 * len(self._waiting) + 64:  # most of it has left
            self._heap = [entry for entry in self._heap if entry[1] in self._waiting]
            self._heap.sort(key=lambda entry: entry[:2])

    def _leave(self, number: int) -> bool:
        job = self._waiting.pop(number, None)
        if job is None:
            return False
        self._levels[job.priority] -= 1
        if not self._levels[job.priority]:
            del self._levels[job.priority]
        return True

    def ran(self, seconds: float) -> None:
        """A job ran for so long."""
        self.average += (seconds - self.average) / SMOOTHING if self.average else seconds


def retry_after(estimate: float) -> int:
    """Whole seconds after which to try again (RFC 9110, 10.2.3); at least 1."""
    return max(1, ceil(estimate))


def may_retry(retries: int, deaths: int) -> bool:
    """Whether a job that may be run twice, and under which `deaths` processes have died, is tried again."""
    return deaths <= retries and deaths < MOST_DEATHS
