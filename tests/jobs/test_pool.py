"""A worker's jobs with a backend played by hand: which are accepted, what goes with them, what a pool tells."""

from contextvars import ContextVar

import pytest

from prefork.core.job import State
from prefork.errors import OffloadError, QueueFull, Unsendable
from prefork.jobs import context
from prefork.jobs.job import ITEMS, Job
from prefork.jobs.options import Offload
from prefork.jobs.pool import QUIET_SECONDS
from prefork.jobs.runner import About
from tests.jobs import work
from tests.jobs.backend import Desk, call_of, error, state, wait

# -- accepting


def test_a_job_waits_until_it_is_taken_then_gives_its_result() -> None:
    desk = Desk()
    job = desk.submit(work.double, 4)
    assert state(job) is State.WAITING
    assert desk.backend.told == [("wake", None)]
    desk.take(job)
    assert state(job) is State.RUNNING
    desk.pool.returned(job, 8, 0.1)
    assert state(job) is State.DONE
    assert desk.loop.result(wait(job)) == 8
    assert not desk.pool.jobs


def test_a_job_carries_its_call() -> None:
    job = Desk().submit(work.echo, 1, "two", key=b"x" * 100_000)
    assert call_of(job) == (work.echo, (1, "two"), {"key": b"x" * 100_000}, None)
    assert job.name == "tests.jobs.work.echo"
    assert repr(job) == "<Job 1 tests.jobs.work.echo waiting>"


def test_numbers_are_never_used_twice() -> None:
    desk = Desk()
    numbers = []
    for _ in range(3):
        job = desk.running()
        numbers.append(job.number)
        desk.pool.returned(job, None, 0.0)
    assert numbers == [1, 2, 3]


def test_what_cannot_be_sent_is_refused_at_the_call_and_leaves_nothing() -> None:
    desk = Desk()
    with pytest.raises(Unsendable, match="is a lambda"):
        desk.submit(lambda: None)
    with pytest.raises(Unsendable, match="argument 1, of type function, cannot be pickled"):
        desk.submit(work.double, lambda: None)
    assert not desk.pool.jobs
    assert len(desk.pool.queue) == 0
    assert desk.backend.told == []


def test_jobs_run_by_priority_then_in_order() -> None:
    desk = Desk()
    jobs = [desk.submit(options=Offload(priority=priority)) for priority in (0, 10, 0, 10)]
    assert [desk.take() for _ in jobs] == [jobs[1], jobs[3], jobs[0], jobs[2]]
    assert desk.pool.take() is None


@pytest.mark.parametrize("processes", [1, 3])
def test_the_queue_takes_as_many_as_it_may_and_refuses_the_next(processes: int) -> None:
    desk = Desk(processes, offload_queue=2)
    for _ in range(processes):
        desk.running()
    jobs = [desk.submit() for _ in range(2)]
    with pytest.raises(
        QueueFull, match=r"^tests\.jobs\.work\.double is refused: 2 jobs wait already \(offload_queue = 2\)$"
    ):
        desk.submit()
    desk.pool.returned(desk.take(jobs[0]), None, 0.0)
    desk.submit()


def test_a_queue_without_places_takes_what_can_run_at_once() -> None:
    desk = Desk(2, offload_queue=0)
    first, _ = desk.running(), desk.running()
    with pytest.raises(QueueFull):
        desk.submit()
    desk.pool.returned(first, None, 0.0)
    desk.submit()


def test_a_job_that_would_wait_too_long_is_refused_with_the_time_to_come_again() -> None:
    desk = Desk(offload_wait_seconds=10)
    desk.pool.returned(desk.running(), None, 3.0)
    for _ in range(4):
        desk.submit()  # 0, 3, 6 and 9 seconds before them
    with pytest.raises(QueueFull, match=r"it would wait for about 12\.0 s \(offload_wait_seconds = 10\)$") as caught:
        desk.submit()
    assert caught.value.retry_after == 12
    assert caught.value.status == 503


@pytest.mark.parametrize(("seconds", "refused"), [(9.99, False), (10.0, False), (10.01, True)])
def test_the_longest_wait_is_accepted_and_one_beyond_is_not(seconds: float, refused: bool) -> None:
    desk = Desk(offload_wait_seconds=10)
    desk.pool.returned(desk.running(), None, seconds)
    desk.running()
    if refused:
        with pytest.raises(QueueFull):
            desk.submit()
    else:
        desk.submit()


def test_a_job_of_high_priority_is_accepted_where_one_of_low_is_not() -> None:
    desk = Desk(offload_wait_seconds=10)
    desk.pool.returned(desk.running(), None, 6.0)
    desk.running()
    desk.submit(options=Offload(priority=1))
    with pytest.raises(QueueFull):
        desk.submit(options=Offload(priority=1))
    desk.submit(options=Offload(priority=2))


@pytest.mark.parametrize(("average", "seconds"), [(0.0, 1), (0.2, 1), (2.5, 8)])
def test_a_queue_full_in_count_tells_the_time_to_come_again(average: float, seconds: int) -> None:
    desk = Desk(offload_queue=2, offload_wait_seconds=100)
    if average:
        desk.pool.returned(desk.running(), None, average)
    desk.running()
    desk.submit()
    desk.submit()
    with pytest.raises(QueueFull) as caught:
        desk.submit()
    assert caught.value.retry_after == seconds


def test_refusals_are_logged_once_in_a_while_with_their_number(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(offload_queue=0)
    desk.running(options=Offload(timeout=0))

    def refuse() -> None:
        with pytest.raises(QueueFull):
            desk.submit()

    for _ in range(3):
        refuse()
    assert [record.getMessage().rpartition("; ")[2] for record in caplog.records] == [
        "1 refused since the last such line"
    ]
    desk.advance(QUIET_SECONDS - 0.001)
    refuse()
    assert len(caplog.records) == 1
    desk.advance(0.001)
    refuse()
    assert caplog.records[1].getMessage().endswith("; 4 refused since the last such line")


# -- what comes along


def test_a_job_without_anything_special_has_nothing_beside_its_call() -> None:
    assert call_of(Desk().submit())[3] is None


@pytest.mark.parametrize(
    ("options", "about"),
    [
        (Offload(memory="1K"), About(None, {}, 1024, 0, 5)),
        (Offload(cpu_seconds=2), About(None, {}, 0, 2, 5)),
        (Offload(nice=7), About(None, {}, 0, 0, 7)),
        (Offload(nice=0), About(None, {}, 0, 0, 0)),
        (Offload(nice=5), None),
    ],
)
def test_limits_and_niceness_travel_with_a_job(options: Offload, about: About | None) -> None:
    assert call_of(Desk().submit(options=options))[3] == about


def test_the_request_and_the_named_variables_travel_with_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    class Request:
        id = "r-1"

    variable: ContextVar[str] = ContextVar("variable")
    monkeypatch.setattr(context, "_carried", {})
    context.carry(variable)
    desk = Desk()

    def submit() -> Job:
        variable.set("value")
        context.origin.set(Request())
        return desk.submit()

    assert call_of(desk.loop.call(submit))[3] == About("r-1", {"variable": "value"}, 0, 0, 5)


# -- streams and progress


def test_a_stream_is_paused_when_it_is_full_and_resumed_when_half_of_it_is_read() -> None:
    desk = Desk()
    job = desk.running(stream=True)
    for number in range(ITEMS - 1):
        desk.pool.add_item(job, number)
    assert desk.backend.told_of("pause") == []
    desk.pool.add_item(job, ITEMS - 1)
    assert desk.backend.told_of("pause") == [job]
    for number in range(ITEMS // 2):
        assert desk.backend.told_of("resume") == []
        assert desk.loop.result(job.receive()) == (True, number)
    assert desk.backend.told_of("resume") == [job]
    assert [desk.loop.result(job.receive())[1] for _ in range(ITEMS // 2)] == list(range(ITEMS // 2, ITEMS))
    assert desk.backend.told_of("resume") == [job]


def test_a_stream_that_is_over_is_not_resumed() -> None:
    desk = Desk()
    job = desk.running(stream=True)
    for number in range(ITEMS):
        desk.pool.add_item(job, number)
    desk.pool.returned(job, None, 0.0)
    for number in range(ITEMS):
        assert desk.loop.result(job.receive()) == (True, number)
    assert desk.loop.result(job.receive()) == (False, None)
    assert desk.backend.told_of("resume") == []


# -- the whole pool


def test_the_pool_tells_when_its_last_job_is_over() -> None:
    desk = Desk()
    told: list[int] = []
    desk.pool.on_empty = lambda: told.append(len(desk.pool.jobs))
    first, second = desk.running(), desk.submit()
    desk.pool.returned(first, None, 0.0)
    assert told == []
    second.cancel()
    assert told == [0]


def test_a_closed_pool_has_ended_its_jobs_and_accepts_no_more() -> None:
    desk = Desk()
    running, waiting = desk.running(), desk.submit()
    desk.loop.result(desk.pool.close())
    assert desk.backend.closed
    assert state(running) is state(waiting) is State.CANCELLED
    assert str(error(running)) == "tests.jobs.work.double was ended: the server stops"
    assert desk.backend.told_of("end") == [running]
    with pytest.raises(OffloadError, match="the server stops; no more jobs are accepted"):
        desk.submit()
    desk.advance(100)
    assert desk.loop.faults == []
