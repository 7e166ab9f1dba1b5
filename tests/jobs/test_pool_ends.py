"""How a job ends, with a backend played by hand: once, in time, and tried again only if it may be."""

import gc

import pytest

from prefork.core.job import State
from prefork.errors import Cancelled, OffloadError, Timeout
from prefork.jobs.job import Job, Progress
from prefork.jobs.options import Offload
from tests.jobs import work
from tests.jobs.backend import Desk, call_of, crash, error, is_over, state, wait

AGAIN = Offload(retries=5, idempotent=True)


# -- ending


def test_a_job_that_raised_raises_for_who_awaits_it() -> None:
    desk = Desk()
    job = desk.running()
    desk.pool.raised(job, LookupError("no"), 0.1)
    assert state(job) is State.FAILED
    with pytest.raises(LookupError, match="no"):
        desk.loop.result(wait(job))


def test_a_job_that_cannot_run_fails_where_it_waits() -> None:
    desk = Desk()
    job, other = desk.submit(), desk.submit()
    desk.pool.raised(job, OffloadError("no offloader can start"), 0.0)
    assert state(job) is State.FAILED
    assert list(desk.pool.queue) == [other]


def test_a_job_that_is_over_gives_its_result_to_everybody_who_asks() -> None:
    desk = Desk()
    job = desk.running()
    first, second = desk.loop.start(wait(job)), desk.loop.start(wait(job))
    desk.pool.returned(job, 8, 0.1)
    desk.loop.run()
    assert first.result() == second.result() == desk.loop.result(wait(job)) == 8


@pytest.mark.parametrize(
    ("failed", "told"),
    [(Timeout("late"), 0), (Cancelled("gone"), 0), (OffloadError("no"), 0), (LookupError("no"), 1)],
    ids=lambda case: type(case).__name__,
)
def test_only_an_error_of_the_app_that_nobody_looks_at_is_told_by_asyncio(failed: Exception, told: int) -> None:
    """Ours are in the log already, and who caused them may have left."""
    desk = Desk()
    job = desk.running()
    desk.pool.raised(job, failed, 0.1)
    del job
    gc.collect()
    assert [fault["message"] for fault in desk.loop.faults] == ["Future exception was never retrieved"] * told


def test_a_waiting_job_that_is_past_its_deadline_is_dropped() -> None:
    desk = Desk()
    job = desk.submit(options=Offload(timeout=5))
    desk.advance(4.999)
    assert state(job) is State.WAITING
    desk.advance(0.001)
    assert state(job) is State.TIMED_OUT
    assert str(error(job)) == "tests.jobs.work.double could not begin within 5 s"
    assert isinstance(error(job), Timeout)
    assert isinstance(error(job), TimeoutError)
    assert desk.backend.told_of("end") == []
    assert desk.pool.take() is None


def test_a_running_job_that_is_past_its_deadline_is_ended() -> None:
    desk = Desk()
    job = desk.submit(options=Offload(timeout=5))
    desk.advance(3)
    desk.take(job)
    desk.advance(1.999)
    assert state(job) is State.RUNNING
    desk.advance(0.001)  # counted from submission
    assert state(job) is State.TIMED_OUT
    assert str(error(job)) == "tests.jobs.work.double did not end within 5 s"
    assert desk.backend.told_of("end") == [job]


def test_each_job_has_a_deadline_of_its_own() -> None:
    desk = Desk(offload_timeout_seconds=7)
    jobs = {job.terms.timeout: job for job in (desk.submit(options=Offload(timeout=t)) for t in (3, None, 1, 5, 0))}
    assert list(jobs) == [3, 7, 1, 5, 0]
    over = []
    for _ in range(10):
        desk.advance(1)
        over.append([timeout for timeout, job in jobs.items() if is_over(job)])
    assert over == [[1], [1], [3, 1], [3, 1], [3, 1, 5], [3, 1, 5], *[[3, 7, 1, 5]] * 4]


def test_a_job_without_a_deadline_runs_as_long_as_it_needs() -> None:
    desk = Desk()
    job = desk.running(options=Offload(timeout=0))
    desk.advance(10 * 365 * 86400)
    assert state(job) is State.RUNNING


def test_the_deadline_of_a_job_that_is_over_does_not_hold_up_the_others() -> None:
    desk = Desk()
    early, late = desk.running(options=Offload(timeout=1)), desk.submit(options=Offload(timeout=2))
    desk.pool.returned(early, None, 0.5)
    desk.advance(1)
    assert state(early) is State.DONE
    assert state(late) is State.WAITING
    desk.advance(1)
    assert state(late) is State.TIMED_OUT


def test_a_job_that_took_all_its_time_counts_in_the_estimate() -> None:
    desk = Desk()
    desk.running(options=Offload(timeout=8))
    desk.advance(8)
    desk.running()
    assert desk.pool.queue.estimate(0) == 8.0


def test_a_waiting_job_that_is_cancelled_is_dropped() -> None:
    desk = Desk()
    job = desk.submit()
    job.cancel()
    assert state(job) is State.CANCELLED
    assert isinstance(error(job), Cancelled)
    assert str(error(job)) == "tests.jobs.work.double was cancelled"
    assert desk.backend.told_of("end") == []
    assert desk.pool.take() is None


def test_a_running_job_that_is_cancelled_is_ended_once() -> None:
    desk = Desk()
    job = desk.running()
    job.cancel()
    job.cancel()
    assert state(job) is State.CANCELLED
    assert desk.backend.told_of("end") == [job]


@pytest.mark.parametrize("taken", [False, True])
def test_a_job_is_ended_when_the_one_who_awaits_it_is_cancelled(taken: bool) -> None:
    desk = Desk()
    job = desk.submit()
    if taken:
        desk.take(job)
    waiting = desk.loop.start(wait(job))
    waiting.cancel()
    desk.loop.run()
    assert waiting.cancelled()
    assert state(job) is State.CANCELLED
    assert desk.backend.told_of("end") == ([job] if taken else [])
    assert not desk.pool.jobs
    assert desk.pool.take() is None


def test_a_job_that_is_over_is_not_cancelled() -> None:
    desk = Desk()
    job = desk.running()
    desk.pool.returned(job, 8, 0.1)
    job.cancel()
    assert state(job) is State.DONE
    assert desk.backend.told_of("end") == []


def test_everybody_else_who_awaits_a_cancelled_job_learns_of_it() -> None:
    desk = Desk()
    job = desk.running()
    waiting = desk.loop.start(wait(job))
    job.cancel()
    desk.loop.run()
    assert isinstance(waiting.exception(), Cancelled)


# -- late words


def ended(desk: Desk, how: str) -> Job:
    """A job that ran and is over."""
    job = desk.running(options=Offload(timeout=5, retries=1, idempotent=True))
    if how == "done":
        desk.pool.returned(job, "first", 0.0)
    elif how == "failed":
        desk.pool.raised(job, LookupError("first"), 0.0)
    elif how == "timed out":
        desk.advance(5)
    elif how == "cancelled":
        job.cancel()
    else:
        desk.pool.died(job, crash())
        desk.pool.died(desk.take(job), crash())
    assert job.state.value == how
    return job


@pytest.mark.parametrize("how", ["done", "failed", "timed out", "cancelled", "crashed"])
@pytest.mark.parametrize("late", ["returned", "raised", "died", "put_back", "item", "report"])
def test_what_comes_after_the_end_of_a_job_changes_nothing(how: str, late: str) -> None:
    desk = Desk()
    job = ended(desk, how)
    before = job.state, desk.pool.queue.running, len(desk.pool.queue), len(desk.backend.told)
    outcome = job.outcome.exception() or job.outcome.result()
    {
        "returned": lambda: desk.pool.returned(job, "late", 1.0),
        "raised": lambda: desk.pool.raised(job, ValueError("late"), 1.0),
        "died": lambda: desk.pool.died(job, crash()),
        "put_back": lambda: desk.pool.put_back(job),
        "item": lambda: desk.pool.add_item(job, 1),
        "report": lambda: desk.pool.add_report(job, Progress(1, "")),
    }[late]()
    assert (job.state, desk.pool.queue.running, len(desk.pool.queue), len(desk.backend.told)) == before
    assert (job.outcome.exception() or job.outcome.result()) is outcome


# -- put back, tried again


def test_a_job_that_is_put_back_stands_where_it_stood() -> None:
    desk = Desk()
    first, second = desk.submit(), desk.submit()
    desk.take(first)
    desk.pool.put_back(first)
    assert state(first) is State.WAITING
    assert list(desk.pool.queue) == [first, second]
    assert desk.pool.queue.running == 0


def test_a_job_whose_process_died_has_crashed_and_nothing_else_has() -> None:
    desk = Desk(2)
    job, other = desk.running(), desk.running()
    died = crash(signal=11, stack="in app.f")
    desk.pool.died(job, died)
    assert state(job) is State.CRASHED
    assert error(job) is died
    assert state(other) is State.RUNNING


def test_an_idempotent_job_is_tried_again_at_its_old_place() -> None:
    desk = Desk()
    job, other = desk.running(options=Offload(retries=1, idempotent=True)), desk.submit()
    told = len(desk.backend.told)
    desk.pool.died(job, crash())
    assert state(job) is State.WAITING
    assert list(desk.pool.queue) == [job, other]
    assert desk.backend.told[told:] == [("wake", None)]
    desk.pool.returned(desk.take(job), 8, 0.1)
    assert desk.loop.result(wait(job)) == 8


def test_a_job_that_was_tried_again_has_its_whole_call() -> None:
    desk = Desk()
    job = desk.submit(work.echo, b"x" * 100_000, options=AGAIN)
    desk.pool.died(desk.take(job), crash())
    assert call_of(job)[1] == (b"x" * 100_000,)


def test_the_deadline_counts_from_submission_also_when_tried_again() -> None:
    desk = Desk()
    job = desk.running(options=Offload(timeout=5, retries=1, idempotent=True))
    desk.advance(4)
    desk.pool.died(job, crash())
    desk.advance(1)
    assert state(job) is State.TIMED_OUT


def test_a_job_under_which_two_processes_died_is_never_tried_again() -> None:
    desk = Desk()
    job = desk.running(options=AGAIN)
    desk.pool.died(job, crash())
    desk.take(job)
    last = crash()
    desk.pool.died(job, last)
    assert state(job) is State.CRASHED
    assert error(job) is last


@pytest.mark.parametrize("options", [Offload(), Offload(idempotent=True), Offload(retries=0, idempotent=True)])
def test_a_job_that_may_not_run_twice_or_has_no_retries_is_not_tried_again(options: Offload) -> None:
    desk = Desk(offload_retries=0)
    job = desk.running(options=options)
    desk.pool.died(job, crash())
    assert state(job) is State.CRASHED


def test_retries_in_the_settings_are_for_idempotent_jobs() -> None:
    desk = Desk(offload_retries=1)
    job, idempotent = desk.running(), desk.running(options=Offload(idempotent=True))
    desk.pool.died(job, crash())
    desk.pool.died(idempotent, crash())
    assert state(job) is State.CRASHED
    assert state(idempotent) is State.WAITING


@pytest.mark.parametrize("items", [0, 1])
def test_a_stream_is_tried_again_only_if_nobody_has_seen_anything_of_it(items: int) -> None:
    desk = Desk()
    job = desk.running(options=AGAIN, stream=True)
    for number in range(items):
        desk.pool.add_item(job, number)
    desk.pool.died(job, crash())
    assert state(job) is (State.CRASHED if items else State.WAITING)


def test_a_crash_told_as_an_error_counts_as_one() -> None:
    """By an offloader that survived its limit, or a backend that has it as an exception."""
    desk = Desk()
    job = desk.running(options=Offload(retries=1, idempotent=True))
    desk.pool.raised(job, crash(cause="memory"), 0.5)
    assert state(job) is State.WAITING
    desk.pool.raised(desk.take(job), crash(cause="memory"), 0.5)
    assert state(job) is State.CRASHED


def test_a_crash_is_logged_with_its_stack(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    desk.pool.died(desk.running(), crash(stack='File "app.py", line 3 in f'))
    (record,) = caplog.records
    assert record.getMessage() == (
        'job 1 (tests.jobs.work.double) crashed: app.f crashed its process\nFile "app.py", line 3 in f'
    )
    assert vars(record)["job"] == 1
