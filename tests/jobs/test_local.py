"""Jobs on their way to offloaders, each played by hand, and back: who gets what, what is heard, who is ended."""

import errno
import signal

import pytest

from prefork.core.job import State
from prefork.errors import Cancelled, Timeout
from prefork.jobs import wire
from prefork.jobs.job import ITEMS, Job, Progress
from prefork.jobs.local import AHEAD_JOBS, RETRY_SECONDS, SLOW_SECONDS
from prefork.jobs.options import Offload
from prefork.jobs.payload import BIG_BYTES
from tests.jobs import work
from tests.jobs.backend import error, state
from tests.jobs.site import Make, Site

AGAIN = Offload(retries=5, idempotent=True)
BIG = b"x" * BIG_BYTES


# -- work ahead


@pytest.mark.parametrize(
    ("average", "behind"),
    [(0.0, 0), (1.0, 0), (0.00101, 0), (0.001, 1), (0.00051, 1), (0.0005, 2), (0.0001, 10), (1e-9, AHEAD_JOBS)],
)
def test_only_quick_jobs_are_sent_behind_what_runs_and_not_too_many(make: Make, average: float, behind: int) -> None:
    site = make(1, offload_wait_seconds=1000)
    far = site.quick(average)
    jobs = [site.submit() for _ in range(AHEAD_JOBS + 5)]
    assert far.given() == [job.number for job in jobs[: 1 + behind]]
    assert [state(job) for job in jobs[1 + behind :]] == [State.WAITING] * (AHEAD_JOBS + 4 - behind)


def test_each_answer_makes_room_for_the_next_job(site: Site) -> None:
    far = site.quick(0.001)
    jobs = [site.submit() for _ in range(5)]
    for job in jobs:
        assert far.take() == job.number
        site.returns(far, job.number, job.number, seconds=0.001)
    assert [job.outcome.result() for job in jobs] == [job.number for job in jobs]


def test_answers_that_come_together_are_each_matched(site: Site) -> None:
    far = site.quick(1e-9)
    jobs = [site.submit() for _ in range(AHEAD_JOBS)]
    for number in far.given():
        far.returns(number, number)
    site.loop.run()
    assert [job.outcome.result() for job in jobs] == [job.number for job in jobs]


def test_what_waits_behind_a_slow_job_is_taken_back_in_its_order(site: Site) -> None:
    far = site.quick()
    jobs = [site.submit() for _ in range(4)]
    far.take()
    site.loop.advance(SLOW_SECONDS * 0.9)
    assert [state(job) for job in jobs] == [State.RUNNING] * 4
    site.loop.advance(SLOW_SECONDS * 0.2)
    assert [state(job) for job in jobs] == [State.RUNNING, *[State.WAITING] * 3]
    assert list(site.pool.queue) == jobs[1:]
    assert far.read_now() is None
    site.returns(far, jobs[0].number)
    assert far.take() == jobs[1].number


def test_what_is_taken_back_goes_to_another(make: Make) -> None:
    site = make(2)
    far = site.quick()
    jobs = [site.submit() for _ in range(3)]
    far.take()
    site.loop.advance(2 * SLOW_SECONDS)
    assert site.orders == [1, 2]
    other = site.boot(2)
    assert other.given()[0] == jobs[1].number


def test_while_jobs_go_on_nothing_is_taken_back(site: Site) -> None:
    far = site.quick()
    jobs = [site.submit() for _ in range(8)]
    for job in jobs[:4]:
        far.take()
        site.loop.advance(SLOW_SECONDS * 0.9)
        site.returns(far, job.number, seconds=0.0001)
    assert far.given() == [job.number for job in jobs[4:]]
    assert {state(job) for job in jobs[4:]} == {State.RUNNING}


def test_a_job_that_has_begun_is_not_taken_back(site: Site) -> None:
    far = site.quick()
    jobs = [site.submit() for _ in range(3)]
    for job in jobs:
        assert far.take() == job.number  # the answers to the first two are on their way
    site.loop.advance(3 * SLOW_SECONDS)
    assert [state(job) for job in jobs] == [State.RUNNING] * 3
    for job in jobs:
        site.returns(far, job.number, job.number)
    assert [job.outcome.result() for job in jobs] == [job.number for job in jobs]


@pytest.mark.parametrize("alone", ["stream", "large"])
def test_streams_and_large_calls_have_nothing_behind_them_and_go_behind_nothing(site: Site, alone: str) -> None:
    far = site.quick()

    def submit() -> Job:
        return site.submit(work.count, 3, stream=True) if alone == "stream" else site.submit(work.first, BIG)

    special = submit()
    small = site.submit()
    assert far.given() == [special.number]
    assert state(small) is State.WAITING
    site.returns(far, special.number)
    assert far.take() == small.number
    later = submit()
    assert state(later) is State.WAITING
    assert far.read_now() is None
    site.returns(far, small.number)
    assert far.take() == later.number


def test_the_highest_priority_is_given_first(site: Site) -> None:
    (far,) = site.booted()
    running = site.submit()
    jobs = [site.submit(options=Offload(priority=priority)) for priority in (0, 5, 1)]
    far.take()
    order = []
    for last in [running, jobs[1], jobs[2]]:
        site.returns(far, last.number)
        order.append(far.take())
    assert order == [jobs[1].number, jobs[2].number, jobs[0].number]


def test_a_call_that_cannot_be_sent_for_now_is_sent_later(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(end: object, message: bytes, descriptor: int | None = None) -> None:
        raise OSError(errno.ENOBUFS, "No buffer space available")

    (far,) = site.booted()
    monkeypatch.setattr(wire, "send", refuse)
    job = site.submit()
    site.loop.advance(5 * RETRY_SECONDS)
    assert state(job) is State.WAITING
    monkeypatch.undo()
    site.loop.advance(RETRY_SECONDS)
    assert far.take() == job.number
    site.returns(far, job.number, "late")
    assert job.outcome.result() == "late"


# -- what is heard


def test_an_error_is_raised_with_its_cause(site: Site) -> None:
    (far,) = site.booted()
    job = site.submit()
    far.raises(far.take(), work.Required(7, reason="none"))
    site.loop.run()
    found = error(job)
    assert isinstance(found, work.Required)
    assert found.code == 7
    assert "Required: 7: none" in str(found.__cause__)


@pytest.mark.parametrize("word", ["returns", "raises", "item", "progress"])
def test_words_of_jobs_that_are_not_its_own_are_dropped(make: Make, word: str) -> None:
    """Foreign, or of a job that is over: late, or said twice."""
    site = make(2)
    far, other = site.booted(2)
    old, job = site.submit(), site.submit()
    site.returns(far, far.take(), "first")
    other.take()
    for number in (0, 10**18, old.number, job.number):
        if word == "returns":
            far.returns(number, "foreign")
        elif word == "raises":
            far.raises(number, LookupError("foreign"))
        elif word == "item":
            far.item(number, "foreign")
        else:
            far.progress(number, 0.5)
    site.loop.run()
    assert old.outcome.result() == "first"
    assert state(job) is State.RUNNING
    site.returns(other, job.number, "own")
    assert job.outcome.result() == "own"


def test_a_result_that_cannot_be_made_anew_is_an_error_that_says_so(site: Site) -> None:
    (far,) = site.booted()
    job = site.submit()
    site.returns(far, far.take(), work.Unmakeable())
    assert str(error(job)) == ("tests.jobs.work.double: what it sent cannot be made anew here: LookupError: not here")
    assert isinstance(error(job).__cause__, LookupError)
    assert site.spawner.ended == []
    job = site.submit()
    assert far.take() == job.number


def test_an_item_that_cannot_be_made_anew_ends_its_stream(site: Site) -> None:
    (far,) = site.booted()
    job = site.submit(work.count, 3, stream=True)
    far.item(far.take(), work.Unmakeable())
    site.loop.run()
    assert "cannot be made anew here" in str(error(job))
    assert site.spawner.ended == [(1, 1.0)]


def test_progress_is_heard(site: Site) -> None:
    (far,) = site.booted()
    job = site.submit()
    seen: list[Progress] = []

    async def watch() -> None:
        async for report in job.progress():
            seen.append(report)

    watching = site.loop.start(watch())
    far.progress(far.take(), 0.5, "half")
    site.loop.run()
    assert seen == [(0.5, "half")]
    site.returns(far, job.number)
    assert watching.done()


def test_a_stream_that_is_not_read_is_not_heard_until_half_of_it_is(site: Site) -> None:
    (far,) = site.booted()
    job = site.submit(work.count, 100, stream=True)
    number = far.take()
    for item in range(3 * ITEMS):
        far.item(number, item)
    far.returns(number)
    site.loop.run()
    assert not job.outcome.done()
    got = []
    for count in range(3 * ITEMS):
        more, item = site.loop.result(job.receive())
        assert more
        got.append(item)
        if count < 2 * ITEMS:
            assert not job.outcome.done()
    assert got == list(range(3 * ITEMS))
    assert site.loop.result(job.receive()) == (False, None)
    small = site.submit()
    assert far.take() == small.number
    site.returns(far, small.number, 1)
    assert small.outcome.result() == 1


def test_an_offloader_whose_stream_came_to_its_end_unread_is_heard_again(site: Site) -> None:
    (far,) = site.booted()
    stream = site.submit(work.count, 100, stream=True)
    number = far.take()
    for item in range(2 * ITEMS):
        far.item(number, item)
    site.loop.run()
    far.returns(number)
    site.loop.call(stream.cancel)
    assert site.spawner.ended == [], "it had run to its end"
    job = site.submit()
    assert far.take() == job.number
    site.returns(far, job.number, 1)
    assert job.outcome.result() == 1


def test_a_stream_that_is_not_read_has_its_deadline_all_the_same(site: Site) -> None:
    (far,) = site.booted()
    job = site.submit(work.count, 100, stream=True, options=Offload(timeout=5))
    number = far.take()
    for item in range(2 * ITEMS):
        far.item(number, item)
    site.loop.run()
    site.loop.advance(5)
    assert state(job) is State.TIMED_OUT
    assert site.spawner.ended == [(1, 1.0)]


# -- who is ended


@pytest.mark.parametrize(("grace", "seconds"), [(None, 1.0), (0, 0.0), (2.5, 2.5)])
def test_a_running_job_that_is_cancelled_has_its_offloader_ended_with_its_grace(
    site: Site, grace: float | None, seconds: float
) -> None:
    (far,) = site.booted()
    job = site.submit(options=Offload(grace=grace))
    far.take()
    job.cancel()
    assert isinstance(error(job), Cancelled)
    assert site.spawner.ended == [(far.number, seconds)]


def test_a_job_past_its_deadline_has_its_offloader_ended(site: Site) -> None:
    (far,) = site.booted()
    job = site.submit(options=Offload(timeout=5))
    far.take()
    site.loop.advance(5)
    assert isinstance(error(job), Timeout)
    assert site.spawner.ended == [(far.number, 1.0)]


def test_the_place_of_an_offloader_that_is_ended_is_free_at_once(site: Site) -> None:
    (far,) = site.booted()
    job, waiting = site.submit(), site.submit()
    far.take()
    job.cancel()
    assert site.orders == [1, 2]
    assert site.boot(2).take() == waiting.number


def test_what_an_offloader_says_while_it_is_ended_is_not_heard(site: Site) -> None:
    (far,) = site.booted()
    job = site.submit()
    number = far.take()
    job.cancel()
    site.returns(far, number, "late")
    assert isinstance(error(job), Cancelled)
    site.die(far, signal.SIGTERM)
    assert isinstance(error(job), Cancelled)


def test_a_job_that_waits_behind_another_is_dropped_and_nobody_is_ended(site: Site) -> None:
    far = site.quick()
    first, second, third = site.submit(), site.submit(), site.submit()
    far.take()
    second.cancel()
    assert site.spawner.ended == []
    assert isinstance(error(second), Cancelled)
    site.returns(far, first.number)
    assert far.take() == third.number
    assert state(third) is State.RUNNING


@pytest.mark.parametrize("how", ["cancelled", "timed out"])
def test_a_job_that_has_answered_unheard_is_not_ended_with_the_one_behind_it(site: Site, how: str) -> None:
    far = site.quick()
    first, second = site.submit(options=Offload(timeout=1)), site.submit()
    far.returns(far.take(), "first")
    assert far.take() == second.number
    if how == "cancelled":
        first.cancel()
    else:
        site.loop.now += 1
        site.pool._expire()
    assert state(first).value == how
    assert site.spawner.ended == []
    site.returns(far, second.number, "second")
    assert second.outcome.result() == "second"


def test_jobs_behind_one_that_is_ended_run_elsewhere(site: Site) -> None:
    far = site.quick()
    jobs = [site.submit() for _ in range(3)]
    far.take()
    jobs[0].cancel()
    assert site.spawner.ended == [(1, 1.0)]
    assert [state(job) for job in jobs[1:]] == [State.WAITING] * 2
    other = site.boot(2)
    assert other.given() == [job.number for job in jobs[1:]]
    site.die(far, signal.SIGTERM)
    assert [state(job) for job in jobs[1:]] == [State.RUNNING] * 2


def test_a_job_is_not_given_to_an_offloader_that_is_ended(site: Site) -> None:
    (far,) = site.booted()
    site.submit()
    far.take()
    next(iter(site.pool.jobs.values())).cancel()
    site.submit()
    assert far.read_now() is None
