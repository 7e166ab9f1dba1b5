"""Count jobs, and calls of actors: how each ended, how long it waited and ran, how many there are.

What a job costs for being counted stands in `Tally.over`.
"""

from bisect import bisect_left
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

from prefork.core.job import State
from prefork.metrics import ours
from prefork.metrics.counting import LABEL_SETS, current, when_moved
from prefork.metrics.kinds import SECONDS

if TYPE_CHECKING:
    from prefork.jobs.pool import Pool

REFUSED: Final = "refused"  # how something ended that never was a job
KEPT_ROWS: Final = 2 * LABEL_SETS

_SUM: Final = len(SECONDS) + 1  # of a histogram's words; see `Declaration.words`
_FIRST: Final = SECONDS[0]
_DONE: Final = State.DONE  # an enum's members are slow to look up

# Where numbers are: memory, and the index of the first word; of a histogram also of the sum. Of jobs that are done, of
# their wait and of their run.
Rows = tuple["memoryview[float]", int, "memoryview[float]", int, int, "memoryview[float]", int, int]

_pools: WeakSet["Pool"] = WeakSet()


class Tally:
    """Counts the jobs of one pool, on its event loop.

    There is no lock, which would cost as much as half of the rest: where a number is read, added to and written,
    nothing is called, so no other thread and no signal handler comes between (CPython lets them in at calls and jumps).
    """

    __slots__ = ("_actor", "_rows")

    def __init__(self, actor: str) -> None:
        self._actor = actor
        self._rows: dict[str, Rows] = {}  # by function

    def over(self, function: str, state: State, waited: float, ran: float) -> None:
        """A job is over. Seconds that it waited, and that it ran; 0: it never did."""
        rows = self._rows.get(function) or self._find(function)
        done_words, done, wait_words, wait, wait_sum, run_words, run, run_sum = rows
        if state is _DONE:
            done_words[done] += 1.0
        else:
            ours.jobs_ended.labels(self._actor, function, state.value).inc()
        wait_words[wait if waited <= _FIRST else wait + bisect_left(SECONDS, waited)] += 1.0
        wait_words[wait_sum] += waited
        if ran:
            run_words[run if ran <= _FIRST else run + bisect_left(SECONDS, ran)] += 1.0
            run_words[run_sum] += ran

    def refused(self, function: str) -> None:
        """A job was not accepted: too many wait."""
        ours.jobs_ended.labels(self._actor, function, REFUSED).inc()

    def forget(self) -> None:
        """The process counts elsewhere now."""
        self._rows.clear()

    def _find(self, function: str) -> Rows:
        series, labels = current().series, (self._actor, function)
        done_words, done = series(ours.jobs_ended.declaration, (*labels, State.DONE.value))
        wait_words, wait = series(ours.job_wait.declaration, labels)
        run_words, run = series(ours.job_run.declaration, labels)
        found = done_words, done, wait_words, wait, wait + _SUM, run_words, run, run + _SUM
        if len(self._rows) < KEPT_ROWS:
            self._rows[function] = found
        return found


def watch(pool: "Pool") -> None:
    """Tell of the jobs of this pool as long as it is there."""
    _pools.add(pool)


def tell() -> None:
    """Say how many jobs there are now, by actor."""
    waiting: dict[str, int] = {}
    running: dict[str, int] = {}
    for pool in list(_pools):
        waiting[pool.actor] = waiting.get(pool.actor, 0) + len(pool.queue)
        running[pool.actor] = running.get(pool.actor, 0) + pool.queue.running
    for actor in waiting:
        ours.jobs_waiting.labels(actor).set(waiting[actor])
        ours.jobs_running.labels(actor).set(running[actor])


def _moved() -> None:
    for pool in list(_pools):
        pool.tally.forget()


when_moved(_moved)
