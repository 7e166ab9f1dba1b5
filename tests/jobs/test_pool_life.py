"""Jobs through whatever may happen to them, in whatever order."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from prefork.core.job import State
from prefork.errors import Crashed, QueueFull
from prefork.jobs.job import Job
from prefork.jobs.options import Offload
from tests.jobs.backend import Desk, crash, is_over, state


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=20))
def test_no_job_outlives_its_deadline_whatever_the_order(timeouts: list[float]) -> None:
    desk = Desk(offload_queue=100)
    jobs = [desk.submit(options=Offload(timeout=timeout)) for timeout in timeouts]
    for _ in jobs[::2]:
        desk.take()
    for job in sorted(jobs, key=lambda job: job.deadline):
        desk.advance(max(0.0, job.deadline - desk.loop.time()))
        assert state(job) is State.TIMED_OUT
    assert not desk.pool.jobs
    assert desk.pool.queue.running == 0


class Life(RuleBasedStateMachine):
    """Whatever happens in whatever order: each job ends once, and nothing is counted twice."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk(2, offload_queue=4)
        self.jobs: list[Job] = []
        self.given: list[Job] = []  # and not answered, whatever became of them
        self.results: dict[int, Any] = {}

    @rule(timeout=st.sampled_from([0, 1, 5]), priority=st.integers(-1, 1), again=st.booleans())
    def submit(self, timeout: float, priority: int, again: bool) -> None:
        options = Offload(timeout=timeout, priority=priority, retries=int(again), idempotent=again)
        waiting = len(self.desk.pool.queue)
        try:
            self.jobs.append(self.desk.submit(options=options))
        except QueueFull:
            assert waiting >= 4 or self.desk.pool.queue.estimate(priority) > 10

    @rule()
    def take(self) -> None:
        job = self.desk.pool.take()
        if job is not None:
            self.given.append(job)

    @precondition(lambda self: self.given)
    @rule(which=st.integers(0, 100), word=st.sampled_from(["returned", "raised", "died", "put_back", "twice"]))
    def answer(self, which: int, word: str) -> None:
        job = self.given.pop(which % len(self.given))
        pool = self.desk.pool
        if word == "returned":
            pool.returned(job, job.number, 0.5)
        elif word == "raised":
            pool.raised(job, LookupError(job.number), 0.5)
        elif word == "died":
            pool.died(job, crash())
        elif word == "put_back":
            pool.put_back(job)
        else:
            pool.returned(job, job.number, 0.5)
            pool.returned(job, "twice", 0.5)

    @precondition(lambda self: self.jobs)
    @rule(which=st.integers(0, 100))
    def cancel(self, which: int) -> None:
        self.jobs[which % len(self.jobs)].cancel()

    @rule(seconds=st.sampled_from([0.5, 1, 3]))
    def wait(self, seconds: float) -> None:
        self.desk.advance(seconds)

    @invariant()
    def every_job_is_where_its_state_says(self) -> None:
        pool = self.desk.pool
        states = [job.state for job in self.jobs]
        assert len(pool.queue) == states.count(State.WAITING)
        assert pool.queue.running == states.count(State.RUNNING)
        assert set(pool.jobs.values()) == {job for job in self.jobs if not is_over(job)}

    @invariant()
    def an_end_is_the_last_word(self) -> None:
        for job in filter(is_over, self.jobs):
            end = job.outcome.exception() or job.outcome.result()
            assert self.results.setdefault(job.number, end) is end
            if state(job) is State.DONE:
                assert end == job.number
            elif state(job) is State.CRASHED:
                assert isinstance(end, Crashed)
                assert job.deaths <= 2

    @invariant()
    def nobody_is_late(self) -> None:
        now = self.desk.loop.time()
        assert all(is_over(job) or job.deadline > now for job in self.jobs)


TestLife = Life.TestCase
