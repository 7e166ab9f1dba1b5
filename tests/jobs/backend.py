"""A backend that a test plays by hand, and a pool on it whose clock is told."""

from collections.abc import Callable
from typing import Any

from prefork.core.job import State
from prefork.errors import Crashed
from prefork.jobs.job import Job
from prefork.jobs.options import Offload
from prefork.jobs.payload import decode
from prefork.jobs.pool import Pool
from prefork.settings import Settings
from tests.jobs import work
from tests.jobs.loop import JobLoop


class FakeBackend:
    """Takes no job by itself, and remembers what it was told."""

    def __init__(self, processes: int) -> None:
        self.processes = processes
        self.told: list[tuple[str, Job | None]] = []
        self.closed = False

    def start(self) -> None: ...

    def wake(self) -> None:
        self.told.append(("wake", None))

    def end(self, job: Job) -> None:
        self.told.append(("end", job))

    def pause(self, job: Job) -> None:
        self.told.append(("pause", job))

    def resume(self, job: Job) -> None:
        self.told.append(("resume", job))

    async def close(self) -> None:
        self.closed = True

    def told_of(self, what: str) -> list[Job | None]:
        return [job for word, job in self.told if word == what]


class Submitter:
    """Whoever has a pool that jobs can be submitted to."""

    pool: Pool

    def submit(
        self,
        function: Callable[..., Any] = work.double,
        *args: Any,
        options: Offload | None = None,
        stream: bool = False,
        **kwargs: Any,
    ) -> Job:
        terms = (options or Offload()).terms(self.pool.settings)
        return self.pool.submit(function, args or (1,), kwargs, terms, stream)


class Desk(Submitter):
    """A pool, its backend, its loop, and the verbs of a test."""

    def __init__(self, processes: int = 1, **settings: Any) -> None:
        self.loop = JobLoop()
        self.backend = FakeBackend(processes)
        self.pool = self.loop.call(lambda: Pool(Settings(**settings), lambda pool: self.backend))

    def take(self, job: Job | None = None) -> Job:
        taken = self.pool.take()
        assert taken is not None
        assert job is None or taken is job
        return taken

    def running(self, options: Offload | None = None, stream: bool = False) -> Job:
        """A job that has been taken."""
        return self.take(self.submit(options=options, stream=stream))

    def advance(self, seconds: float) -> None:
        self.loop.advance(seconds)


def crash(**more: Any) -> Crashed:
    return Crashed("app.f crashed its process", **more)


def call_of(job: Job) -> Any:
    """Function, args, kwargs and About that a job has as its payload."""
    return decode(job.payload.pickle, job.payload.buffers)


def error(job: Job) -> BaseException:
    """What a job that is over raises."""
    assert job.outcome.done(), job
    found = job.outcome.exception()
    assert found is not None, job
    return found


def state(job: Job) -> State:
    """Asked anew each time, where a type checker would remember what it was."""
    return job.state


def is_over(job: Job) -> bool:
    return job.outcome.done() and job.state not in (State.WAITING, State.RUNNING)


async def wait(job: Job) -> Any:
    """What a job gives, for a task to await."""
    return await job
