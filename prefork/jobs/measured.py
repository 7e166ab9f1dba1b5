"""Count jobs, and calls of actors: how each ended, how long it waited and ran, how many there are.

What a job costs for being counted stands in `over`.
"""

from bisect import bisect_left
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

from prefork.core.job import State
from prefork.metrics import ours
from prefork.metrics.counting import LABEL_SETS, current, lock, when_moved
from prefork.metrics.kinds import SECONDS

if TYPE_CHECKING:
    from prefork.jobs.pool import Pool

REFUSED: Final = "refused"  # how something ended that never was a job
KEPT_ROWS: Final = 2 * LABEL_SETS

_SUM: Final = len(SECONDS) + 1  # of a histogram's words; see `Declaration.words`
_FIRST: Final = SECONDS[0]

# Where a number is: memory, and the index of its first word.
Rows = tuple["memoryview[float]", int, "memoryview[float]", int, "memoryview[float]", int]
_rows: dict[tuple[str, str, State], Rows] = {}
when_moved(_rows.clear)

_pools: WeakSet["Pool"] = WeakSet()


def over(actor: str, function: str, state: State, waited: float, ran: float) -> None:
    """A job is over. Seconds that it waited, and that it ran; 0: it never did."""
    key = (actor, function, state)
    with lock:
        ended_words, ended, wait_words, wait, run_words, run = _rows.get(key) or _find(key)
        ended_words[ended] += 1.0
        wait_words[wait + (bisect_left(SECONDS, waited) if waited > _FIRST else 0)] += 1.0
        wait_words[wait + _SUM] += waited
        if ran:
            run_words[run + (bisect_left(SECONDS, ran) if ran > _FIRST else 0)] += 1.0
            run_words[run + _SUM] += ran


def refused(actor: str, function: str) -> None:
    """A job was not accepted: too many wait."""
    ours.jobs_ended.labels(actor, function, REFUSED).inc()


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


def _find(key: tuple[str, str, State]) -> Rows:
    actor, function, state = key
    series, labels = current().series, (actor, function)
    found = (
        *series(ours.jobs_ended.declaration, (*labels, state.value)),
        *series(ours.job_wait.declaration, labels),
        *series(ours.job_run.declaration, labels),
    )
    if len(_rows) < KEPT_ROWS:
        _rows[key] = found
    return found
