"""A worker's jobs: which are accepted, when each runs, how each ends. Where they run is a backend's business."""

import asyncio
import logging
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Any, Final, Protocol

from prefork.core.job import Event, State
from prefork.core.queue import JobQueue, may_retry, retry_after
from prefork.errors import Cancelled, Crashed, OffloadError, QueueFull, Timeout
from prefork.jobs import context, measured, references, runner
from prefork.jobs.job import Job, Progress
from prefork.jobs.measured import Tally
from prefork.jobs.options import Terms
from prefork.jobs.payload import encode_call
from prefork.settings import Settings

QUIET_SECONDS: Final = 10.0  # between two lines that say the queue is full

# What each job goes through: an enum's members are slow to look up.
_RUNNING: Final = State.RUNNING
_GIVEN: Final = Event.GIVEN
_RETURNED: Final = Event.RETURNED

_log = logging.getLogger("prefork.offload")


class Backend(Protocol):
    """Where jobs run. It takes them with `Pool.take` and says how they end; all on the pool's loop."""

    processes: int  # jobs it can run at once

    def start(self) -> None:
        """Do what can be done before the first job."""

    def wake(self) -> None:
        """Jobs wait: take those that can run."""

    def end(self, job: Job) -> None:
        """A job that was taken is over, by its deadline or because nobody wants it. Stop it as well as you can."""

    def pause(self, job: Job) -> None:
        """Its items come faster than they are read."""

    def resume(self, job: Job) -> None:
        """They are wanted again."""

    async def close(self) -> None:
        """Let everything go, in order. Nothing runs any more."""


class Pool:
    """The jobs of one event loop."""

    what, one = "jobs", "job"  # in messages
    queue_setting = "offload_queue"
    closing = "the server stops"
    log = _log
    actor = ""  # whose calls they are

    def __init__(self, settings: Settings, make_backend: Callable[["Pool"], Backend]) -> None:
        self.settings = settings
        self.loop = asyncio.get_running_loop()
        self.backend = make_backend(self)
        self.queue: JobQueue[Job] = JobQueue(
            settings.offload_queue, settings.offload_wait_seconds, self.backend.processes
        )
        self.jobs: dict[int, Job] = {}  # that are not over, by number
        self.on_empty: Callable[[], None] | None = None
        self._number = 0
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf
        self._refused = 0
        self._refused_said_at = -inf
        self.tally = Tally(self.actor)
        measured.watch(self)

    def submit(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        terms: Terms,
        stream: bool = False,
    ) -> Job:
        """Accept a job. Raises QueueFull, Unsendable, OffloadError."""
        name = references.check(references.subject(function, args))
        self.refuse_if_none_may_come(name, terms.priority)
        about = self._about(terms, name)
        payload = encode_call(function, name, args, kwargs, about)
        job = Job(
            self, self.next_number(), name, payload, terms, self.deadline(terms), stream, self.loop.create_future()
        )
        if about is not None:
            job.request = about.request
        self.add(job)
        self.queue.put(job)
        self.backend.wake()
        return job

    def refuse_if_none_may_come(self, name: str, priority: int) -> None:
        """Raises QueueFull, or OffloadError once we close."""
        if self._closed:
            raise OffloadError(f"{name}: {self.closing}; no more {self.what} are accepted")
        self._refuse_if_full(name, priority)

    def next_number(self) -> int:
        self._number += 1
        return self._number

    def deadline(self, terms: Terms) -> float:
        """That of a job which is submitted now, on the loop's clock."""
        return self.loop.time() + terms.timeout if terms.timeout else inf

    def add(self, job: Job) -> None:
        """From now on it is one of ours, and its deadline is watched."""
        self.jobs[job.number] = job
        if context.tracer is not None:
            context.tracer.accepted(job)
        if job.deadline < self._timer_at:
            self._set_timer(job.deadline)

    def cancel(self, job: Job) -> None:
        self._stop(job, Event.CANCELLED, Cancelled(f"{job.name} was cancelled"))

    def resume(self, job: Job) -> None:
        job.paused = False
        if not job.outcome.done():
            self.backend.resume(job)

    async def close(self) -> None:
        """Accept no more, end what is left, let the processes go."""
        self._closed = True
        for job in list(self.jobs.values()):
            self._stop(job, Event.CANCELLED, Cancelled(f"{job.name} was ended: {self.closing}"))
        if self._timer is not None:
            self._timer.cancel()
        await self.backend.close()

    # -- what the backend asks and reports

    def take(self) -> Job | None:
        """The next job to run."""
        job = self.queue.pop()
        if job is not None:
            job.apply(_GIVEN)
            job.given_at = monotonic()
            self.queue.running += 1
        return job

    def put_back(self, job: Job) -> None:
        """A job that was taken did not begin."""
        if job.state is _RUNNING:
            self._wait_again(job, Event.TAKEN_BACK)

    def add_item(self, job: Job, item: Any) -> None:
        """A job has sent an item of its stream."""
        if not job.add_item(item):
            job.paused = True
            self.backend.pause(job)

    def add_report(self, job: Job, report: Progress) -> None:
        job.add_report(report)

    def returned(self, job: Job, value: Any, seconds: float) -> None:
        """A job that ran for so long gave its result."""
        if job.state is _RUNNING:
            self._over(job, _RETURNED, seconds)
            job.end(value)

    def raised(self, job: Job, error: BaseException, seconds: float) -> None:
        """A job raised; or, without having run, cannot run."""
        if isinstance(error, Crashed):
            self.died(job, error, seconds)
        elif job.number in self.jobs:
            self._over(job, Event.RAISED, seconds)
            job.fail(error)

    def died(self, job: Job, error: Crashed, seconds: float = 0.0) -> None:
        """The process that ran a job has died. Tried again, if it may be."""
        if job.state is not _RUNNING:
            return
        job.deaths += 1
        if job.terms.idempotent and not job.sent and may_retry(job.terms.retries, job.deaths):
            self.log.warning("%s %d (%s) is tried again: %s", self.one, job.number, job.name, error.reason)
            self._wait_again(job, Event.RETRIED)
            self.backend.wake()
            return
        self.log.error(
            "%s %d (%s) crashed: %s%s",
            self.one,
            job.number,
            job.name,
            error.reason,
            f"\n{error.stack}" if error.stack else "",
            extra={"job": job.number},
        )
        self._over(job, Event.DIED, seconds)
        job.fail(error)

    # -- ourselves

    def _refuse_if_full(self, name: str, priority: int) -> None:
        queue = self.queue
        wait = queue.estimate(priority)
        if queue.full():
            reason = f"{len(queue)} {self.what} wait already ({self.queue_setting} = {queue.most})"
        elif wait > queue.wait_seconds:
            reason = f"it would wait for about {wait:.1f} s (offload_wait_seconds = {queue.wait_seconds:g})"
        else:
            return
        self.tally.refused(name)
        self._refused += 1
        now = self.loop.time()
        if now >= self._refused_said_at + QUIET_SECONDS:
            self.log.warning("%s is refused: %s; %d refused since the last such line", name, reason, self._refused)
            self._refused, self._refused_said_at = 0, now
        raise QueueFull(f"{name} is refused: {reason}", retry_after(wait))

    def _about(self, terms: Terms, traced: str) -> runner.About | None:
        """What goes along; `traced` is the name of its span, if it is to have one."""
        found = context.collect()
        if context.tracer is not None and traced:
            request, variables = found or (None, {})
            found = request, {**variables, context.TRACE: context.tracer.submitted(traced)}
        if found is None and not terms.memory and not terms.cpu_seconds and terms.nice == self.settings.offload_nice:
            return None
        request, variables = found or (None, {})
        return runner.About(request, variables, terms.memory, terms.cpu_seconds, terms.nice)

    def _stop(self, job: Job, event: Event, error: OffloadError) -> None:
        """End a job from here."""
        if job.number not in self.jobs:
            return
        ran = job.state is _RUNNING
        self._over(job, event)
        job.fail(error)
        if ran:
            self.backend.end(job)

    def _over(self, job: Job, event: Event, seconds: float = 0.0) -> None:
        if job.state is _RUNNING:
            self.queue.running -= 1
        else:
            self.queue.remove(job)
        job.apply(event)
        if context.tracer is not None:
            context.tracer.over(job)
        if seconds:
            self.queue.ran(seconds)
        now = monotonic()
        ran = seconds or (now - job.given_at if job.given_at else 0.0)  # when it was ended, nobody tells how long
        waited = now - job.submitted_at - ran
        self.tally.over(job.name, job.state, waited if waited > 0.0 else 0.0, ran)
        del self.jobs[job.number]
        if not self.jobs and self.on_empty is not None:
            self.on_empty()

    def _wait_again(self, job: Job, event: Event) -> None:
        job.apply(event)
        job.given_at = 0.0
        self.queue.running -= 1
        self.queue.put(job)

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self.loop.call_at(at, self._expire) if at < inf else None

    def _expire(self) -> None:
        """End what is past its deadline. One timer serves all jobs: most are over before it fires."""
        now = self.loop.time()
        for job in [job for job in self.jobs.values() if job.deadline <= now]:
            ran = job.state is _RUNNING
            what = "did not end" if ran else "could not begin"
            reason = f"{job.name} {what} within {job.terms.timeout:g} s"
            self.log.warning("%s %d timed out: %s", self.one, job.number, reason, extra={"job": job.number})
            if ran:
                self.queue.ran(job.terms.timeout)
            self._stop(job, Event.EXPIRED, Timeout(reason))
        self._set_timer(min((job.deadline for job in self.jobs.values()), default=inf))
