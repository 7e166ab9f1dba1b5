"""Run jobs on a Dask cluster: give each to a thread of one of its workers, hear what comes of it.

We choose the worker for each job, and let Dask run it there or nowhere: left to itself, Dask runs a task again on
another worker when the first is gone (`allowed-failures`), and so a job twice that may run once.
"""

import asyncio
import logging
import pickle
import random
import uuid
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from prefork.errors import Crashed, OffloadError, UsageError
from prefork.jobs import dask_worker, failures
from prefork.jobs.dask_cluster import Cluster, Worker
from prefork.jobs.dask_worker import END, NOT_RUN, RESULT, STREAMS, Errand, Key, Parcel
from prefork.jobs.job import Job, Progress
from prefork.jobs.pool import Pool

# Said once in each process.
CANNOT: Final = (
    "jobs run on the Dask cluster at %s, which cannot end a job that runs: one that is cancelled or past its deadline "
    "goes on, and its thread gets no other until it is over. The options grace, memory, cpu_seconds and nice have no "
    "effect there, nor have settings that are about offloaders (docs/dask.md)"
)
_said = False

_log = logging.getLogger("prefork.offload")


@dataclass(eq=False)
class Run:
    """A job on a Dask worker."""

    job: Job
    worker: Worker
    key: Key
    over: bool = False  # the job is; the thread may not be
    future: Any = None
    task: "asyncio.Task[None] | None" = None  # waits for the last word
    reader: "asyncio.Task[None] | None" = None  # of its stream
    wanted: asyncio.Event = field(default_factory=asyncio.Event)  # more items

    @property
    def ticket(self) -> int:
        return self.key[2]


class DaskBackend:
    """The threads of one cluster."""

    def __init__(self, pool: Pool, address: str) -> None:
        """`address` of the scheduler. Raises UsageError when `distributed` is not installed."""
        try:
            import dask.config
            import distributed
        except ImportError as error:
            raise UsageError(f"offload_backend = dask: {error}; pip install 'prefork[dask]'") from error
        dask_worker.register()
        self.processes = 1  # until it is known
        self._distributed: Any = distributed
        self._config: Any = dask.config
        self._pool = pool
        self._cluster = Cluster(distributed, address, self)
        self._runs: dict[int, Run] = {}  # that hold a thread, by ticket
        self._ticket = 0
        self._token = uuid.uuid4().hex  # ours, in keys
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Connect, in the background."""
        self._cluster.start()

    # -- what the pool asks

    def wake(self) -> None:
        self.start()
        while len(self._pool.queue) and (worker := self._choose()) is not None:
            self._give(worker)
        if self._cluster.unfit:
            self.unreachable(self._cluster.unfit)

    def end(self, job: Job) -> None:
        run = self._find(job)
        if run is not None:
            _log.info("job %d (%s) is over; Dask worker %s may still run it", job.number, job.name, run.worker.address)
            self._drop(run)
            self._spawn(self._free(run))
            self._count()

    def pause(self, job: Job) -> None:
        if (run := self._find(job)) is not None:
            run.wanted.clear()

    def resume(self, job: Job) -> None:
        if (run := self._find(job)) is not None:
            run.wanted.set()

    async def close(self) -> None:
        await self._cluster.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- what we hear of the cluster

    def connected(self) -> None:
        global _said
        if not _said:
            _said = True
            _log.warning(CANNOT, self._cluster.address)

    def changed(self, gone: list[Worker]) -> None:
        lost = [run for run in self._runs.values() if run.worker in gone]
        for run in lost:
            self._spawn(self._forget(run))
        self._end_runs(lost, "its Dask worker has gone")
        self._count()
        self.wake()

    def lost(self, reason: str) -> None:
        lost = list(self._runs.values())
        for run in lost:
            if run.reader is not None:
                run.reader.cancel()
        self._end_runs(lost, reason)
        self._count()

    def unreachable(self, reason: str) -> None:
        for job in list(self._pool.queue):
            self._pool.raised(job, OffloadError(f"{job.name}: {reason}"), 0.0)

    def hear(self, said: bytes) -> None:
        """What a job says before its last word."""
        ticket, kind, value = pickle.loads(said)
        run = self._runs.get(ticket)
        if kind == STREAMS:
            reader = self._spawn(self._read(dask_worker.queue_name((self._token, ticket)), run))
            if run is not None:
                run.reader = reader
        elif run is not None and not run.over:
            self._pool.add_report(run.job, Progress(*value))

    # -- giving

    def _choose(self) -> Worker | None:
        """A worker with an idle thread: the one that is least busy with jobs of ours."""
        free = [worker for worker in self._cluster.workers.values() if worker.given < worker.threads]
        # By lot among equals: other prefork workers, which we know nothing of, give jobs to the same cluster.
        return min(free, key=lambda worker: (worker.given / worker.threads, random.random()), default=None)

    def _give(self, worker: Worker) -> None:
        job = self._pool.take()
        assert job is not None
        try:
            dask_worker.check(job.payload, self._pool.settings.offload_arena, f"the arguments of {job.name}")
        except OffloadError as error:
            self._pool.raised(job, error, 0.0)
            return
        self._ticket += 1
        run = Run(job, worker, (job.name, self._token, self._ticket))
        run.wanted.set()
        self._runs[run.ticket] = run
        worker.given += 1
        run.task = self._spawn(self._carry(run))

    async def _carry(self, run: Run) -> None:
        """Send a job to its worker, and report its last word."""
        try:
            run.future = self._submit(run)
            kind, reply, seconds = await run.future
            if run.reader is not None:
                await asyncio.wait([run.reader])  # what is still on its way
                run.reader.result()
            value = reply.load()
        except Exception as error:
            self._failed(run, error)
            return
        self._leave(run)
        if kind == RESULT:
            self._pool.returned(run.job, value, seconds)
        elif kind == NOT_RUN:
            self._pool.died(run.job, _crash(run, "another has taken the place of its Dask worker"))
        else:
            # Without the frames that tblib, which Dask brings, gives to a pickled exception: its cause has told them.
            self._pool.raised(run.job, failures.restore(value).with_traceback(None), seconds)
        self.wake()

    def _submit(self, run: Run) -> Any:
        client, settings = self._cluster.client, self._pool.settings
        errand = Errand(
            run.job.number,
            client.id,
            run.worker.directory,
            settings.offload_arena,
            settings.log_format,
            settings.log_level,
        )
        # Dask warns of large arguments, which it could keep for other tasks. No other needs these.
        with self._config.set({"distributed.admin.large-graph-warning-threshold": "1 TiB"}):
            return client.submit(
                dask_worker.run,
                tuple(errand),
                Parcel.of(run.job.payload),
                key=run.key,
                pure=False,
                retries=0,
                workers=[run.worker.address],
                allow_other_workers=False,
            )

    def _failed(self, run: Run, error: Exception) -> None:
        """Dask could not run it, or cannot say what came of it. An error of the job itself comes as its last word."""
        cluster, client = self._cluster, self._cluster.client
        if client is None or client.status != "running":
            cluster.lose(f"the connection to the Dask scheduler at {cluster.address} was lost")
            return
        self._leave(run)
        if isinstance(error, self._distributed.KilledWorker | self._distributed.CancelledError):
            run.worker.offered = 0  # as far as we know; a look will tell
            cluster.look()
            self._pool.died(run.job, _crash(run, f"its Dask worker has gone, or the cluster has dropped it: {error}"))
        else:
            wrong = OffloadError(
                f"{run.job.name}: the Dask cluster at {cluster.address} could not run it, or its result cannot be made "
                f"anew: {type(error).__qualname__}: {error}; scheduler and workers need prefork, of the same version"
            )
            wrong.__cause__ = error
            self._pool.raised(run.job, wrong, 0.0)
        self.wake()

    # -- the end of a job

    def _find(self, job: Job) -> Run | None:
        return next((run for run in self._runs.values() if run.job is job and not run.over), None)

    def _drop(self, run: Run) -> None:
        """The job is over: nothing that comes of it is reported."""
        run.over = True
        run.wanted.set()  # its reader goes on to the end
        if run.task is not None and run.task is not asyncio.current_task():
            run.task.cancel()

    def _leave(self, run: Run) -> None:
        """Its thread is free."""
        if self._runs.pop(run.ticket, None) is not None:
            run.worker.given -= 1
            self._count()

    async def _free(self, run: Run) -> None:
        """Tell Dask that nobody wants it; when its thread is free, others may have that."""
        client = self._cluster.client
        try:
            await self._cancel(run)
            await client.run(dask_worker.wait_over, run.key, workers=[run.worker.address])
            if run.reader is not None:
                await asyncio.wait([run.reader])
        except Exception as error:  # the worker or the scheduler has gone
            _log.debug("Dask does not say when %r is over: %r", run.job, error)
            await self._end_reader(run)
        self._leave(run)
        self.wake()

    async def _forget(self, run: Run) -> None:
        """Nothing more will come of it."""
        with suppress(Exception):  # the scheduler has gone as well
            await self._cancel(run)
        await self._end_reader(run)

    async def _cancel(self, run: Run) -> None:
        if run.future is not None:
            await run.future.cancel()

    def _end_runs(self, runs: list[Run], reason: str) -> None:
        """Nothing more will come of these."""
        mourned = [run for run in runs if not run.over]
        for run in runs:
            self._drop(run)
            self._leave(run)
        for run in mourned:
            if run.future is None:
                self._pool.put_back(run.job)  # it has not been sent
            else:
                self._pool.died(run.job, _crash(run, reason))

    def _count(self) -> None:
        """How many jobs may run: threads that still work for nobody are not to be had."""
        threads = sum(worker.threads for worker in self._cluster.workers.values())
        self.processes = self._pool.queue.processes = max(1, threads - sum(run.over for run in self._runs.values()))

    # -- streams

    async def _read(self, queue: str, run: Run | None) -> None:
        """Read a job's stream to its end, also when nobody wants it. Then nobody needs its queue."""
        client = self._cluster.client
        while run is not None and (data := (await client.scheduler.queue_get(name=queue))["value"]) != END:
            if not run.over:
                self._add_item(run, data)
            await run.wanted.wait()
        # Not Queue.close(): making a Queue here adds to the count of those who use it, once or twice by version.
        client._send_to_scheduler({"op": "queue_release", "name": queue})

    def _add_item(self, run: Run, data: bytes) -> None:
        try:
            item = pickle.loads(data).load()
        except Exception as error:  # whatever its classes raise
            wrong = OffloadError(f"{run.job.name}: an item cannot be made anew here: {error!r}")
            wrong.__cause__ = error
            self.end(run.job)
            self._pool.raised(run.job, wrong, 0.0)
        else:
            self._pool.add_item(run.job, item)

    async def _end_reader(self, run: Run) -> None:
        """End the reader of a job that will not do it itself."""
        client = self._cluster.client
        if run.reader is not None and not run.reader.done() and client is not None:
            with suppress(OSError):  # the scheduler has gone
                await client.scheduler.queue_put(name=dask_worker.queue_name(run.key[1:]), data=END)

    # -- tasks of ours

    def _spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = self._pool.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, OSError):
            _log.error("jobs on Dask: %r", error, exc_info=error)


def _crash(run: Run, reason: str) -> Crashed:
    words = f"{run.job.name} was lost with Dask worker {run.worker.address}, and may have run in part: {reason}"
    return Crashed(words, cause="lost")
