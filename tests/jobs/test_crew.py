"""Which offloaders there are, each played by hand: ordered as needed, put off, let go, ended; and what is left."""

import os
import signal
import socket

import pytest

from prefork.core.backoff import FIRST_SECONDS
from prefork.core.job import State
from prefork.errors import Cancelled, OffloadError
from prefork.jobs import wire
from prefork.jobs.crew import END_SECONDS, SHRINK_SECONDS, STOP_SECONDS
from prefork.jobs.options import Offload
from prefork.jobs.payload import BIG_BYTES
from tests.jobs import work
from tests.jobs.backend import error, state
from tests.jobs.site import Make, Site

AGAIN = Offload(retries=5, idempotent=True)
BIG = b"x" * BIG_BYTES


# -- who is ordered


def test_without_jobs_there_are_as_many_offloaders_as_are_kept_at_least(make: Make) -> None:
    for least in (0, 2):
        site = make(4, offload_min=least)
        site.loop.call(site.pool.backend.start)
        assert len(site.orders) == least


def test_the_first_job_orders_an_offloader_that_gets_it_when_it_is_ready(site: Site) -> None:
    job = site.submit(work.double, 4)
    assert site.orders == [1]
    assert state(job) is State.WAITING
    assert site.far(1).read_now() is None
    far = site.boot(1)
    message = far.read_now()
    assert message is not None
    assert (message.kind, message.number) == (wire.JOB, job.number)
    assert message.value[:3] == (work.double, (4,), {})
    site.returns(far, job.number, 8)
    assert job.outcome.result() == 8


@pytest.mark.parametrize(("jobs", "orders"), [(1, 1), (2, 2), (3, 3), (5, 3)])
def test_as_many_are_ordered_as_jobs_wait_and_may_be(make: Make, jobs: int, orders: int) -> None:
    site = make(3)
    for _ in range(jobs):
        site.submit()
    assert len(site.orders) == orders


def test_an_idle_offloader_is_used_before_another_is_ordered(make: Make) -> None:
    site = make(3)
    (far,) = site.booted()
    job = site.submit()
    assert site.orders == [1]
    assert far.take() == job.number


def test_of_several_the_idle_one_gets_the_job(make: Make) -> None:
    site = make(2)
    first, second = site.booted(2)
    site.pool.queue.average = 0.0001
    jobs = [site.submit(), site.submit()]
    assert first.given() == [jobs[0].number]
    assert second.given() == [jobs[1].number]


def test_jobs_wait_for_the_first_that_is_ready(make: Make) -> None:
    site = make(2)
    jobs = [site.submit(), site.submit()]
    second = site.boot(2)
    assert second.take() == jobs[0].number
    first = site.boot(1)
    assert first.take() == jobs[1].number


# -- who cannot start


def test_jobs_fail_when_no_offloader_can_start_and_the_log_has_the_whole_reason(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    job = site.submit()
    far = site.far(1)
    far.not_ready("Traceback (most recent call last):\n  ...\nValueError: no model\n")
    site.loop.run()
    site.die(far, 1 << 8)
    assert str(error(job)) == "tests.jobs.work.double: no offloader can start: ValueError: no model"
    assert type(error(job)) is OffloadError
    assert "an offloader could not start: Traceback (most" in caplog.text


@pytest.mark.parametrize(
    ("status", "reason", "words"),
    [
        (None, "its mold has died", "its mold has died"),
        (signal.SIGKILL, "", "signal SIGKILL"),
        (3 << 8, "", "exit status 3"),
    ],
)
def test_one_that_was_not_forked_or_died_early_tells_why(
    site: Site, status: int | None, reason: str, words: str
) -> None:
    job = site.submit()
    site.die(site.far(1), status, reason=reason)
    assert str(error(job)).endswith(f"no offloader can start: {words}")


def test_after_a_start_that_failed_the_next_one_is_put_off_longer_each_time(site: Site) -> None:
    for failures in range(4):
        job = site.submit()
        if failures:
            assert len(site.orders) == failures
            site.loop.advance(FIRST_SECONDS * 2 ** (failures - 1) - 0.001)
            assert len(site.orders) == failures
            site.loop.advance(0.002)
        assert len(site.orders) == failures + 1
        site.die(site.far(failures + 1), 1 << 8)
        assert isinstance(error(job), OffloadError)


def test_one_that_starts_clears_what_others_did(site: Site) -> None:
    site.submit()
    site.die(site.far(1), 1 << 8)
    site.submit()
    site.loop.advance(FIRST_SECONDS)
    far = site.boot(2)
    far.take()
    site.die(far)
    site.submit()
    site.die(site.far(3), 1 << 8)
    site.submit()
    assert len(site.orders) == 3
    site.loop.advance(FIRST_SECONDS)
    assert len(site.orders) == 4


def test_those_that_are_kept_at_least_are_there_again_after_a_start_that_failed(make: Make) -> None:
    site = make(2, offload_min=2)
    site.loop.call(site.pool.backend.start)
    site.boot(1)
    site.die(site.far(2), 1 << 8)
    assert site.orders == [1, 2]
    site.loop.advance(FIRST_SECONDS)
    assert site.orders == [1, 2, 3]


def test_those_that_are_kept_at_least_are_there_again_though_not_one_has_ever_started(make: Make) -> None:
    site = make(1, offload_min=1)
    site.loop.call(site.pool.backend.start)
    site.die(site.far(1), 1 << 8)
    assert site.orders == [1]
    site.loop.advance(FIRST_SECONDS)
    assert site.orders == [1, 2]


def test_a_timer_that_is_early_by_the_loops_clock_does_not_leave_jobs_waiting_for_ever(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    call_later = site.loop.call_later
    monkeypatch.setattr(site.loop, "call_later", lambda delay, *call: call_later(delay - 1e-9, *call))
    site.submit()
    site.die(site.far(1), 1 << 8)
    site.submit()
    assert site.orders == [1]
    site.loop.advance(FIRST_SECONDS)
    assert site.orders == [1, 2]


def test_jobs_wait_for_those_that_run_when_another_cannot_start(make: Make) -> None:
    site = make(2)
    (far,) = site.booted()
    running, waiting = site.submit(), site.submit()
    far.take()
    site.die(site.far(2), 1 << 8)
    assert state(waiting) is State.WAITING
    site.returns(far, running.number)
    assert far.take() == waiting.number


@pytest.mark.parametrize(("module", "name"), [(socket, "socketpair"), (os, "memfd_create")])
def test_lack_of_descriptors_is_a_start_that_failed_and_leaves_none(
    site: Site, monkeypatch: pytest.MonkeyPatch, module: object, name: str
) -> None:
    def refuse(*kind: object) -> None:
        raise OSError(24, "Too many open files")

    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr(module, name, refuse)
    job = site.submit()
    assert str(error(job)).endswith("no offloader can start: Too many open files")
    assert os.listdir("/proc/self/fd") == before
    monkeypatch.undo()
    site.submit()
    site.loop.advance(FIRST_SECONDS)
    assert site.orders != []


# -- who leaves


def test_one_that_leaves_is_replaced_and_what_it_was_given_behind_runs_elsewhere(site: Site) -> None:
    far = site.quick()
    last, behind = site.submit(), site.submit()
    far.take()
    site.returns(far, last.number, "last", flags=wire.LEAVING)
    assert last.outcome.result() == "last"
    assert state(behind) is State.WAITING
    assert site.orders == [1, 2]
    assert site.boot(2).take() == behind.number
    site.die(far, 0)
    assert site.spawner.ended == []


def test_one_that_leaves_and_does_not_end_is_ended(site: Site) -> None:
    (far,) = site.booted()
    job = site.submit()
    far.take()
    site.returns(far, job.number, flags=wire.LEAVING)
    site.loop.advance(STOP_SECONDS - 0.001)
    assert site.spawner.ended == []
    site.loop.advance(0.001)
    assert site.spawner.ended == [(1, 0.0)]


@pytest.mark.parametrize(("least", "left"), [(0, 0), (1, 1), (2, 2)])
def test_idle_ones_beyond_the_least_are_let_go_after_their_time(make: Make, least: int, left: int) -> None:
    site = make(2, offload_idle_seconds=20, offload_min=least)
    fars = site.booted(2)
    site.loop.advance(19.9)
    assert [far.sees_end() for far in fars] == [False, False]
    site.loop.advance(SHRINK_SECONDS)  # and not much later
    assert [far.sees_end() for far in fars].count(False) == left
    assert site.spawner.ended == []


def test_when_there_may_be_fewer_the_idle_ones_go_and_those_that_work_go_after_their_job(make: Make) -> None:
    site = make(4, offload_min=1)
    fars = site.booted(4)
    jobs = [site.submit() for _ in range(3)]
    given = [far.take() for far in fars[:3]]
    assert given == [job.number for job in jobs]
    site.loop.call(site.backend.limit, 2)
    assert [far.sees_end() for far in fars] == [False, False, False, True]
    for far, number in zip(fars, given, strict=False):
        site.returns(far, number)
    assert all(job.outcome.done() for job in jobs)
    assert [far.sees_end() for far in fars[:3]].count(False) == 2
    assert site.pool.queue.processes == 2


def test_when_there_may_be_more_the_jobs_that_wait_get_them(make: Make) -> None:
    site = make(1)
    jobs = [site.submit() for _ in range(3)]
    assert site.orders == [1]
    site.loop.call(site.backend.limit, 3)
    assert site.orders == [1, 2, 3]
    assert [site.boot(number).take() for number in site.orders] == [job.number for job in jobs]


def test_one_that_works_now_and_then_is_not_let_go(make: Make) -> None:
    site = make(1, offload_idle_seconds=20)
    (far,) = site.booted()
    for _ in range(5):
        site.loop.advance(15)
        job = site.submit()
        assert far.take() == job.number
        site.returns(far, job.number)
    assert not far.sees_end()


def test_a_job_that_comes_after_the_last_one_was_let_go_orders_another(make: Make) -> None:
    site = make(1, offload_idle_seconds=1)
    (far,) = site.booted()
    site.loop.advance(10)
    assert far.sees_end()
    job = site.submit()
    assert site.orders == [1, 2]
    assert site.boot(2).take() == job.number


# -- niceness


def test_a_job_does_not_run_where_it_would_have_to_be_nicer(make: Make) -> None:
    site = make(2)
    (far,) = site.booted()
    nice = site.submit(options=Offload(nice=10))
    far.take()
    site.returns(far, nice.number)
    job = site.submit(options=Offload(nice=5))
    assert far.read_now() is None
    assert site.orders == [1, 2]
    assert site.boot(2).take() == job.number
    again = site.submit(options=Offload(nice=10))
    assert far.take() == again.number


def test_an_idle_one_that_is_too_nice_makes_room_for_another(site: Site) -> None:
    (far,) = site.booted()
    nice = site.submit(options=Offload(nice=10))
    far.take()
    site.returns(far, nice.number)
    job = site.submit(options=Offload(nice=9))
    assert far.sees_end()
    assert site.boot(2).take() == job.number


# -- the end


def test_a_pool_that_closes_lets_its_offloaders_go_in_order_and_waits_for_them(make: Make) -> None:
    site = make(2)
    fars = site.booted(2)
    closing = site.loop.start(site.pool.close())
    assert [far.sees_end() for far in fars] == [True, True]
    site.die(fars[0], 0)
    assert not closing.done()
    site.die(fars[1], 0)
    assert closing.done()
    assert site.spawner.closed
    assert site.spawner.ended == []
    assert site.orders == [1, 2]


def test_a_pool_that_closes_ends_what_runs(site: Site) -> None:
    (far,) = site.booted()
    job = site.submit()
    far.take()
    closing = site.loop.start(site.pool.close())
    assert isinstance(error(job), Cancelled)
    assert site.spawner.ended == [(1, 1.0)]
    site.die(far, signal.SIGTERM)
    assert closing.done()
    assert site.orders == [1]


def test_a_pool_that_closes_does_not_wait_for_ever(site: Site) -> None:
    site.booted()
    closing = site.loop.start(site.pool.close())
    site.loop.advance(STOP_SECONDS)
    assert site.spawner.ended == [(1, 0.0)]
    assert not closing.done()
    site.loop.advance(END_SECONDS)
    assert closing.done()
    assert site.spawner.closed


def test_a_pool_that_never_ran_a_job_closes_at_once(site: Site) -> None:
    closing = site.loop.start(site.pool.close())
    assert closing.done()
    assert site.spawner.closed
