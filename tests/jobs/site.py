"""A local backend whose offloaders a test plays by hand, and a pool on it whose clock is told."""

from collections.abc import Callable
from typing import Any

from prefork.jobs.local import LocalBackend
from prefork.jobs.pool import Pool
from prefork.settings import Settings
from tests.jobs.backend import Submitter
from tests.jobs.ends import FakeSpawner, Far
from tests.jobs.loop import JobLoop

FIRST_PID = 1000


class Site(Submitter):
    """The pool, its offloaders, and the verbs of a test. What is sent is heard at once."""

    def __init__(self, processes: int = 1, **settings: Any) -> None:
        self.loop = JobLoop()
        self.spawner = FakeSpawner()
        self.gone: set[int] = set()

        def make() -> Pool:
            return Pool(Settings(**settings), lambda pool: LocalBackend(pool, self.spawner, processes))

        self.pool = self.loop.call(make)
        assert isinstance(self.pool.backend, LocalBackend)
        self.backend = self.pool.backend

    @property
    def orders(self) -> list[int]:
        """The numbers of all offloaders that there ever were."""
        return list(self.spawner.ordered)

    def far(self, number: int) -> Far:
        return self.spawner.ordered[number]

    def boot(self, number: int) -> Far:
        """An offloader that was ordered is forked, and ready."""
        far = self.far(number)
        self.loop.call(self.spawner.on_forked, number, FIRST_PID + number)
        far.ready()
        self.loop.run()
        return far

    def booted(self, count: int = 1) -> list[Far]:
        """So many offloaders, idle. What they ran first took a second each."""
        jobs = [self.submit() for _ in range(count)]
        fars = [self.boot(number) for number in self.orders]
        assert len(fars) == count, "fewer than that may be"
        for far in fars:
            self.returns(far, far.take(), seconds=1.0)
        assert all(job.outcome.done() for job in jobs)
        return fars

    def quick(self, seconds: float = 0.0001) -> Far:
        """An idle offloader whose jobs are known to run for so long."""
        (far,) = self.booted()
        self.pool.queue.average = seconds
        return far

    def returns(self, far: Far, number: int, value: Any = None, seconds: float = 0.0, flags: int = 0) -> None:
        far.returns(number, value, seconds, flags)
        self.loop.run()

    def die(self, far: Far, status: int | None = 9, out_of_memory: bool = False, reason: str = "") -> None:
        self.gone.add(far.number)
        self.loop.call(self.spawner.on_gone, far.number, status, out_of_memory, reason)

    def close(self) -> None:
        """Close the pool; every offloader ends at once."""
        closing = self.loop.start(self.pool.close())
        while self.loop.for_threads:
            self.loop.finish_thread()
        for number in set(self.orders) - self.gone:
            self.die(self.far(number), 0)
        assert closing.done()
        self.spawner.release()


Make = Callable[..., Site]
