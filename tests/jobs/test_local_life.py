"""Jobs and offloaders through whatever may happen to both, in whatever order: no job is lost, run twice or mixed up."""

import gc
import os
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from prefork.core.job import State
from prefork.errors import QueueFull
from prefork.jobs import wire
from prefork.jobs.job import Job
from prefork.jobs.options import Offload
from prefork.jobs.payload import BIG_BYTES
from tests.jobs import work
from tests.jobs.backend import is_over
from tests.jobs.ends import Far
from tests.jobs.site import Site

BIG = b"x" * BIG_BYTES
ANY = st.integers(0, 1000)  # which of those there are


class Life(RuleBasedStateMachine):
    """An offloader, played by hand, reads its next job when it has answered the last; it may be long until the worker
    hears the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.descriptors = set(os.listdir("/proc/self/fd"))
        self.site = Site(2, offload_queue=20, offload_wait_seconds=1000, offload_grace_seconds=0)
        self.jobs: dict[int, Job] = {}
        self.booted: list[Far] = []  # and not gone
        self.runs: dict[int, int] = {}  # by offloader: the job that it runs
        self.begun: dict[int, int] = {}  # by job: how often
        self.died: dict[int, int] = {}  # by job: offloaders under it

    # -- the worker

    @rule(
        kind=st.sampled_from(["small", "small", "large", "stream"]),
        priority=st.integers(0, 1),
        timeout=st.sampled_from([0, 1]),
        again=st.booleans(),
    )
    def submit(self, kind: str, priority: int, timeout: float, again: bool) -> None:
        options = Offload(priority=priority, timeout=timeout, retries=3 * again, idempotent=again)
        try:
            if kind == "large":
                job = self.site.submit(work.size_of, BIG, options=options)
            else:
                job = self.site.submit(options=options, stream=kind == "stream")
        except QueueFull:
            return
        self.jobs[job.number] = job

    @precondition(lambda self: self.jobs)
    @rule(which=ANY)
    def cancel(self, which: int) -> None:
        list(self.jobs.values())[which % len(self.jobs)].cancel()

    @rule(seconds=st.sampled_from([0.004, 0.006, 0.2, 1.0]))
    def wait(self, seconds: float) -> None:
        self.site.loop.advance(seconds)

    # -- its offloaders

    @precondition(lambda self: self.unborn())
    @rule(which=ANY, fails=st.booleans())
    def boot(self, which: int, fails: bool) -> None:
        number = self.unborn()[which % len(self.unborn())]
        if fails:
            self.site.die(self.site.far(number), 1 << 8)
        else:
            self.booted.append(self.site.boot(number))

    @precondition(lambda self: self.idle())
    @rule(which=ANY)
    def begin(self, which: int) -> None:
        far = self.idle()[which % len(self.idle())]
        try:
            message = far.read_next()
        except EOFError:  # it was let go
            self.gone(far)
            return
        if message is None:
            return
        assert message.kind == wire.JOB
        self.runs[far.number] = message.number
        self.begun[message.number] = self.begun.get(message.number, 0) + 1

    @precondition(lambda self: self.busy())
    @rule(which=ANY, word=st.sampled_from(["returns", "returns", "raises", "big", "item", "progress", "leaves"]))
    def say(self, which: int, word: str) -> None:
        far = self.busy()[which % len(self.busy())]
        number = self.runs[far.number]
        if word == "item":
            far.item(number, number)
        elif word == "progress":
            far.progress(number, 0.5)
        else:
            del self.runs[far.number]
            if word == "raises":
                far.raises(number, LookupError(number))
            else:
                value: Any = [number, BIG] if word == "big" else number
                far.returns(number, value, seconds=1e-5, flags=wire.LEAVING if word == "leaves" else 0)
        if word == "leaves":
            self.gone(far, 0)

    @rule()
    def hear(self) -> None:
        self.site.loop.run()

    @precondition(lambda self: self.booted)
    @rule(which=ANY)
    def die(self, which: int) -> None:
        self.gone(self.booted[which % len(self.booted)])

    def gone(self, far: Far, status: int = 9) -> None:
        job = self.runs.pop(far.number, None)
        if job is not None and not is_over(self.jobs[job]):
            self.died[job] = self.died.get(job, 0) + 1
        self.booted.remove(far)
        self.site.die(far, status)

    def unborn(self) -> list[int]:
        return [n for n in self.site.orders if n not in self.site.gone and self.site.far(n) not in self.booted]

    def idle(self) -> list[Far]:
        return [far for far in self.booted if far.number not in self.runs]

    def busy(self) -> list[Far]:
        return [far for far in self.booted if far.number in self.runs]

    # -- what holds throughout

    @invariant()
    def each_job_is_where_its_state_says(self) -> None:
        states = [job.state for job in self.jobs.values()]
        assert len(self.site.pool.queue) == states.count(State.WAITING)
        assert self.site.pool.queue.running == states.count(State.RUNNING)

    @invariant()
    def a_result_is_that_of_its_job(self) -> None:
        for number, job in self.jobs.items():
            if job.state is State.DONE:
                value = job.outcome.result()
                assert value == number or value == [number, BIG]
            elif job.state is State.FAILED:
                assert repr(job.outcome.exception()) == f"LookupError({number})" or "no offloader can start" in str(
                    job.outcome.exception()
                )

    @invariant()
    def a_job_begins_once_and_again_only_when_its_process_died(self) -> None:
        for number, times in self.begun.items():
            assert times <= 1 + self.died.get(number, 0)
            assert times == 1 or self.jobs[number].terms.idempotent

    @invariant()
    def a_job_has_crashed_only_if_its_process_died_under_it(self) -> None:
        for number, job in self.jobs.items():
            assert job.deaths == self.died.get(number, 0) <= 2
            assert job.state is not State.CRASHED or job.deaths

    @invariant()
    def there_are_no_more_offloaders_than_may_be(self) -> None:
        ended = {number for number, _ in self.site.spawner.ended}
        there = [n for n in self.site.orders if n not in self.site.gone and n not in ended]
        assert len([n for n in there if not self.leaving(n)]) <= 2

    def leaving(self, number: int) -> bool:
        """It has been let go: its next read is the end."""
        return self.site.pool.backend._handles[number].leaving  # type: ignore[attr-defined, no-any-return]

    @invariant()
    def an_offloader_is_ended_only_for_the_job_that_it_runs(self) -> None:
        for number, _ in self.site.spawner.ended:
            if number in self.runs and number not in self.site.gone:
                assert is_over(self.jobs[self.runs[number]])

    # -- at the end nothing is left

    def teardown(self) -> None:
        for _ in range(1000):
            for number in self.unborn():
                self.booted.append(self.site.boot(number))
            ended = {number for number, _ in self.site.spawner.ended}
            for far in list(self.booted):
                if far.number in ended:
                    self.gone(far)
                elif far.number in self.runs:
                    self.say(self.busy().index(far), "returns")
                else:
                    self.begin(self.idle().index(far))
            if not self.site.pool.jobs:
                break
            self.site.loop.advance(0.1)
        assert all(is_over(job) for job in self.jobs.values()), self.jobs
        self.site.close()
        assert self.site.loop.faults == []
        if not self.descriptors.issuperset(os.listdir("/proc/self/fd")):
            gc.collect()
            assert self.descriptors.issuperset(os.listdir("/proc/self/fd"))


Life.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestLife = Life.TestCase
