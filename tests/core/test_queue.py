"""Which job is next, which is refused, which is tried again: against a list that is sorted anew each time."""

from dataclasses import dataclass
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from prefork.core.queue import MOST_DEATHS, SMOOTHING, JobQueue, may_retry, retry_after

SECONDS = st.floats(0.001, 1000)


@dataclass(eq=False)
class Waiter:
    """All that a queue may ask of a job: it cannot be compared."""

    number: int
    priority: int = 0


def queue(most: int = 64, wait_seconds: float = 10.0, processes: int = 1) -> JobQueue[Waiter]:
    return JobQueue(most, wait_seconds, processes)


def filled(priorities: list[int], most: int = 64, processes: int = 1) -> JobQueue[Waiter]:
    jobs = queue(most, processes=processes)
    for number, priority in enumerate(priorities, 1):
        jobs.put(Waiter(number, priority))
    return jobs


def drain(jobs: JobQueue[Waiter]) -> list[int]:
    numbers = []
    while (job := jobs.pop()) is not None:
        numbers.append(job.number)
    return numbers


class Model(RuleBasedStateMachine):
    """Jobs come, run, are put back, leave; the list of those that wait says what the queue must."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 0
        self.waiting: list[Waiter] = []
        self.taken: list[Waiter] = []
        self.queue = queue(most=5, processes=2)

    @rule(priority=st.integers(-2, 2))
    def submit(self, priority: int) -> None:
        self.number += 1
        job = Waiter(self.number, priority)
        self.queue.put(job)
        self.waiting.append(job)

    @rule()
    def take(self) -> None:
        job = self.queue.pop()
        if job is None:
            assert not self.waiting
            return
        assert job is self.order()[0]
        self.waiting.remove(job)
        self.taken.append(job)
        self.queue.running += 1

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def put_back(self, data: st.DataObject) -> None:
        job = self.taken.pop(data.draw(st.integers(0, len(self.taken) - 1)))
        self.queue.running -= 1
        self.queue.put(job)
        self.waiting.append(job)

    @precondition(lambda self: self.taken)
    @rule(seconds=SECONDS)
    def end(self, seconds: float) -> None:
        self.taken.pop()
        self.queue.running -= 1
        self.queue.ran(seconds)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        self.queue.remove(self.waiting.pop(data.draw(st.integers(0, len(self.waiting) - 1))))

    @precondition(lambda self: self.taken)
    @rule()
    def remove_what_does_not_wait(self) -> None:
        self.queue.remove(self.taken[-1])

    def order(self) -> list[Waiter]:
        return sorted(self.waiting, key=lambda job: (-job.priority, job.number))

    @invariant()
    def holds_what_waits_in_order(self) -> None:
        assert list(self.queue) == self.order()
        assert len(self.queue) == len(self.waiting)
        assert self.queue.peek() is (self.order()[0] if self.waiting else None)

    @invariant()
    def estimates_from_what_is_ahead(self) -> None:
        for priority in range(-3, 4):
            ahead = len(self.taken) + sum(job.priority >= priority for job in self.waiting)
            expected = max(0, ahead + 1 - 2) / 2 * self.queue.average
            assert self.queue.estimate(priority) == pytest.approx(expected)

    @invariant()
    def is_full_when_nothing_can_be_taken_and_all_places_are(self) -> None:
        assert self.queue.full() is (len(self.waiting) >= 5 and len(self.waiting) + len(self.taken) >= 2)


TestModel = Model.TestCase


def test_the_highest_priority_runs_first_then_the_oldest() -> None:
    assert drain(filled([0, 5, 0, -1, 5])) == [2, 5, 1, 3, 4]


def test_a_job_that_is_put_back_stands_where_it_stood() -> None:
    jobs = filled([0, 0, 0])
    first = jobs.pop()
    assert first is not None
    jobs.put(first)
    assert drain(jobs) == [1, 2, 3]


def test_an_empty_queue_has_no_next_job() -> None:
    jobs = queue()
    assert jobs.pop() is None
    assert jobs.peek() is None
    assert list(jobs) == []
    assert len(jobs) == 0


def test_a_job_that_has_left_is_never_taken_though_most_leave() -> None:
    jobs = queue(most=100_000)
    waiters = [Waiter(number, number % 3) for number in range(1000)]
    for job in waiters:
        jobs.put(job)
    for job in waiters[:-2]:
        jobs.remove(job)
    assert [job.number for job in jobs] == [998, 999]
    assert drain(jobs) == [998, 999]


def test_a_job_can_leave_twice() -> None:
    jobs = filled([0, 0])
    (first, _) = jobs
    jobs.remove(first)
    jobs.remove(first)
    assert len(jobs) == 1
    jobs.average = 1.0
    assert jobs.estimate(0) == 1.0


@pytest.mark.parametrize("most", [0, 1, 64])
def test_the_queue_is_full_at_its_bound_and_not_before(most: int) -> None:
    jobs = queue(most)
    jobs.running = 1
    for number in range(most):
        assert not jobs.full()
        jobs.put(Waiter(number))
    assert jobs.full()
    jobs.pop()
    assert jobs.full() is (most == 0)


@pytest.mark.parametrize(("running", "full"), [(0, False), (1, False), (2, True)])
def test_a_job_that_a_process_can_take_at_once_needs_no_place(running: int, full: bool) -> None:
    jobs = queue(most=0, processes=2)
    jobs.running = running
    assert jobs.full() is full


@pytest.mark.parametrize(
    ("processes", "running", "waiting", "seconds"),
    [
        (1, 0, 0, 0.0),
        (1, 1, 0, 4.0),
        (1, 1, 3, 16.0),
        (2, 1, 0, 0.0),  # one process is free
        (2, 2, 0, 2.0),
        (2, 2, 3, 8.0),
        (4, 3, 0, 0.0),
        (4, 4, 5, 6.0),
        (1, 0, 2, 8.0),  # the process is on its way
    ],
)
def test_the_wait_is_the_jobs_ahead_over_processes_times_the_run_time(
    processes: int, running: int, waiting: int, seconds: float
) -> None:
    jobs = filled([0] * waiting, processes=processes)
    jobs.running = running
    jobs.average = 4.0
    assert jobs.estimate(0) == seconds


def test_only_jobs_of_the_same_or_a_higher_priority_are_ahead() -> None:
    jobs = filled([-1, 0, 1])
    jobs.running, jobs.average = 1, 1.0
    assert [jobs.estimate(priority) for priority in (-2, -1, 0, 1, 2)] == [4.0, 4.0, 3.0, 2.0, 1.0]


def test_before_any_job_has_run_no_wait_is_known() -> None:
    jobs = filled([0] * 50)
    assert jobs.estimate(0) == 0.0


def test_the_run_time_is_that_of_the_first_job_then_moves_with_each() -> None:
    jobs = queue()
    jobs.ran(8.0)
    assert jobs.average == 8.0
    jobs.ran(0.0)
    assert jobs.average == 8.0 - 8.0 / SMOOTHING


@given(st.lists(SECONDS, min_size=1))
def test_the_run_time_stays_between_the_shortest_and_the_longest(seconds: list[float]) -> None:
    jobs = queue()
    for each in seconds:
        jobs.ran(each)
    assert min(seconds) <= jobs.average * (1 + 1e-9)
    assert jobs.average <= max(seconds) * (1 + 1e-9)


@pytest.mark.parametrize(("wait", "seconds"), [(0.0, 1), (0.2, 1), (1.0, 1), (1.001, 2), (59.5, 60)])
def test_a_client_is_told_whole_seconds_and_at_least_one(wait: float, seconds: int) -> None:
    assert retry_after(wait) == seconds


@given(st.floats(0, 1e9))
def test_a_client_that_waits_as_told_does_not_come_too_early(wait: float) -> None:
    assert retry_after(wait) >= wait
    assert retry_after(wait) <= max(1, ceil(wait))


@pytest.mark.parametrize(
    ("retries", "deaths", "again"),
    [(0, 1, False), (1, 1, True), (1, 2, False), (100, 1, True), (100, 2, False), (100, 3, False)],
)
def test_a_job_is_tried_again_as_often_as_it_may_but_never_after_two_deaths(
    retries: int, deaths: int, again: bool
) -> None:
    assert may_retry(retries, deaths) is again


def test_two_deaths_are_the_most() -> None:
    assert MOST_DEATHS == 2
