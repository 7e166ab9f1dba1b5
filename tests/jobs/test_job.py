"""A job in the hands of the one who submitted it: its result, its items, its progress, its end."""

import asyncio
import weakref
from typing import Any

import pytest

from prefork.core.job import State
from prefork.errors import Cancelled
from prefork.jobs.job import ITEMS, REPORTS, Job, Progress
from tests.jobs import work
from tests.jobs.backend import Desk, state


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def items(job: Job) -> list[Any]:
    """All items, then the result."""
    got = []
    while True:
        more, item = await job.receive()
        got.append(item)
        if not more:
            return got


async def reports(job: Job, into: list[Progress]) -> None:
    async for report in job.progress():
        into.append(report)


# -- items


def test_items_come_in_order_then_the_result(desk: Desk) -> None:
    job = desk.running(stream=True)
    reader = desk.loop.start(items(job))
    for number in range(3):
        desk.pool.add_item(job, number)
        desk.loop.run()
    assert not reader.done()
    desk.pool.returned(job, "end", 0.0)
    desk.loop.run()
    assert reader.result() == [0, 1, 2, "end"]


def test_items_that_came_before_the_reader_are_not_lost(desk: Desk) -> None:
    job = desk.running(stream=True)
    for number in range(3):
        desk.pool.add_item(job, number)
    desk.pool.returned(job, "end", 0.0)
    assert desk.loop.result(items(job)) == [0, 1, 2, "end"]


def test_none_is_an_item_as_any_other(desk: Desk) -> None:
    job = desk.running(stream=True)
    desk.pool.add_item(job, None)
    assert desk.loop.result(job.receive()) == (True, None)


def test_an_error_comes_after_the_items_before_it(desk: Desk) -> None:
    job = desk.running(stream=True)
    desk.pool.add_item(job, 1)
    desk.pool.raised(job, LookupError("half way"), 0.0)
    assert desk.loop.result(job.receive()) == (True, 1)
    for _ in range(2):
        with pytest.raises(LookupError, match="half way"):
            desk.loop.result(job.receive())


def test_a_reader_that_waits_learns_of_every_kind_of_end(desk: Desk) -> None:
    job = desk.running(stream=True)
    reader = desk.loop.start(job.receive())
    job.cancel()
    desk.loop.run()
    assert isinstance(reader.exception(), Cancelled)


def test_items_of_a_job_that_is_no_stream_are_dropped_and_never_pause_it(desk: Desk) -> None:
    job = desk.running()
    for number in range(2 * ITEMS):
        desk.pool.add_item(job, number)
    assert not job.paused
    desk.pool.returned(job, 1, 0.0)
    assert job.outcome.result() == 1


def test_a_reader_that_is_cancelled_has_not_ended_the_job(desk: Desk) -> None:
    """Who reads decides that: a stream is read step by step, each with a time limit perhaps."""
    job = desk.running(stream=True)
    reader = desk.loop.start(job.receive())
    reader.cancel()
    desk.loop.run()
    assert reader.cancelled()
    assert state(job) is State.RUNNING
    desk.pool.add_item(job, 1)
    assert desk.loop.result(job.receive()) == (True, 1)


# -- progress


def test_reports_come_as_they_are_made_and_end_with_the_job(desk: Desk) -> None:
    job = desk.running()
    seen: list[Progress] = []
    watcher = desk.loop.start(reports(job, seen))
    for number in range(3):
        desk.pool.add_report(job, Progress(number / 2, f"step {number}"))
        desk.loop.run()
        assert len(seen) == number + 1
    desk.pool.returned(job, None, 0.0)
    desk.loop.run()
    assert watcher.done()
    assert seen == [(0.0, "step 0"), (0.5, "step 1"), (1.0, "step 2")]


def test_reports_that_came_last_are_seen_though_the_job_is_over(desk: Desk) -> None:
    job = desk.running()
    seen: list[Progress] = []
    watcher = desk.loop.start(reports(job, seen))
    desk.pool.add_report(job, Progress(0.5, ""))
    desk.pool.add_report(job, Progress(1.0, ""))
    desk.pool.returned(job, None, 0.0)
    desk.loop.run()
    assert watcher.done()
    assert [report.fraction for report in seen] == [0.5, 1.0]


@pytest.mark.parametrize("count", [REPORTS, REPORTS + 1])
def test_where_reports_come_too_fast_the_oldest_go(desk: Desk, count: int) -> None:
    job = desk.running()
    seen: list[Progress] = []
    desk.loop.start(reports(job, seen))
    for number in range(count):
        desk.pool.add_report(job, Progress(number, ""))
    desk.loop.run()
    assert [report.fraction for report in seen] == list(range(count))[-REPORTS:]


def test_a_job_that_nobody_watches_keeps_no_reports(desk: Desk) -> None:
    job = desk.running()
    note = Note()
    gone = weakref.ref(note)
    desk.pool.add_report(job, Progress(0.5, note))
    del note
    assert gone() is None


class Note(str): ...


def test_the_progress_of_a_job_that_is_over_is_empty(desk: Desk) -> None:
    job = desk.running()
    desk.pool.returned(job, None, 0.0)
    seen: list[Progress] = []
    desk.loop.result(reports(job, seen))
    assert seen == []


def test_the_end_of_a_job_is_the_end_of_its_progress_whatever_it_is(desk: Desk) -> None:
    for end in ("raised", "cancelled", "timed out"):
        job = desk.running()
        watcher = desk.loop.start(reports(job, []))
        if end == "raised":
            desk.pool.raised(job, LookupError(), 0.0)
        elif end == "cancelled":
            job.cancel()
        else:
            desk.advance(30)
        desk.loop.run()
        assert watcher.done(), end
        assert watcher.exception() is None


def test_a_job_can_be_watched_while_its_items_and_its_result_are_awaited(desk: Desk) -> None:
    job = desk.running(stream=True)
    seen: list[Progress] = []
    watcher = desk.loop.start(reports(job, seen))
    reader = desk.loop.start(items(job))
    for number in range(3):
        desk.pool.add_report(job, Progress(number, ""))
        desk.pool.add_item(job, number)
        desk.loop.run()
    desk.pool.returned(job, "end", 0.0)
    desk.loop.run()
    assert watcher.done()
    assert reader.result() == [0, 1, 2, "end"]
    assert [report.fraction for report in seen] == [0, 1, 2]


# -- its memory


@pytest.mark.parametrize("end", ["returned", "cancelled", "timed out"])
def test_a_job_that_is_over_holds_no_buffers_of_the_caller(desk: Desk, end: str) -> None:
    mine = bytearray(100_000)
    job = desk.take(desk.submit(work.size_of, mine))
    with pytest.raises(BufferError):
        mine.append(0)
    if end == "returned":
        desk.pool.returned(job, None, 0.0)
    elif end == "cancelled":
        job.cancel()
    else:
        desk.advance(30)
    mine.append(0)


def test_a_job_that_nobody_holds_is_gone_when_it_is_over(desk: Desk) -> None:
    job = desk.running()
    gone = weakref.ref(job)
    desk.pool.returned(job, None, 0.0)
    desk.backend.told.clear()
    del job
    assert gone() is None


def test_a_task_that_is_cancelled_while_the_job_ends_gets_one_of_both(desk: Desk) -> None:
    job = desk.running()

    async def wait() -> Any:
        return await job

    waiting = desk.loop.start(wait())
    desk.pool.returned(job, 8, 0.0)
    waiting.cancel()
    desk.loop.run()
    assert waiting.cancelled()
    assert state(job) is State.DONE
    assert desk.backend.told_of("end") == []


def test_a_job_that_is_awaited_with_a_time_limit_is_ended_by_it(desk: Desk) -> None:
    job = desk.running()

    async def wait() -> Any:
        async with asyncio.timeout(2):
            return await job

    waiting = desk.loop.start(wait())
    desk.advance(1.999)
    assert state(job) is State.RUNNING
    desk.advance(0.001)
    assert isinstance(waiting.exception(), TimeoutError)
    assert state(job) is State.CANCELLED
    assert desk.backend.told_of("end") == [job]
