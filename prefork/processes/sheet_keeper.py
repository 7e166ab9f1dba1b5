"""Keep a worker's sheet: at each beat, what it has of jobs, calls of actors, programs and forks.

It costs what there is at that moment, nothing per job, and hardly anything where there is none.
"""

from collections.abc import Iterator
from itertools import islice

from prefork.children.actors.link import ActorLink
from prefork.children.forks.registry import forked_in
from prefork.children.home import Home
from prefork.children.programs.running import running_in
from prefork.jobs.local import LocalBackend
from prefork.jobs.pool import Pool
from prefork.processes.sheet_rows import CHILDREN, JOBS, TEXT_CHARACTERS, ChildRow, JobRow, Rows, encode
from prefork.system.sheet import SheetWriter


class SheetKeeper:
    """Of one worker."""

    def __init__(self, descriptor: int, pool: Pool, home: Home) -> None:
        """The descriptor stays the caller's."""
        self._sheet = SheetWriter(descriptor)
        self._pool = pool
        self._home = home
        self._blank = True

    def beat(self) -> None:
        """Write down what there is."""
        jobs = [row for pool in self._pools() for row in _jobs(pool)][:JOBS]
        children = list(islice(_children(self._home), CHILDREN))
        if jobs or children or not self._blank:
            self._sheet.write(encode(Rows(jobs, children)))
            self._blank = not jobs and not children

    def _pools(self) -> list[Pool]:
        """With something in them."""
        link = ActorLink.of_worker
        mailboxes = [] if link is None else [client.calls for client in link.clients]
        return [pool for pool in (self._pool, *mailboxes) if pool.jobs]


def _children(home: Home) -> Iterator[ChildRow]:
    for program in running_in(home):
        yield ChildRow("program", 0, program.pid, program.name[:TEXT_CHARACTERS])
    for fork in forked_in(home):
        yield ChildRow("child", fork.number, fork.pid, fork.name[:TEXT_CHARACTERS])


def _jobs(pool: Pool) -> list[JobRow]:
    """The oldest ones."""
    running = pool.backend.running if isinstance(pool.backend, LocalBackend) else {}
    return [
        JobRow(
            job.number,
            job.name[:TEXT_CHARACTERS],
            job.state.value,
            job.submitted_at,
            job.given_at,
            running.get(job.number),
            pool.actor,
            job.request,
        )
        for job in islice(pool.jobs.values(), JOBS)
    ]
