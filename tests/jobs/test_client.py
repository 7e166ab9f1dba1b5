"""`offload` as app code calls it, with a backend played by hand."""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import pytest

from prefork.core.job import State
from prefork.errors import Cancelled, OffloadError, QueueFull, Unsendable
from prefork.jobs import client
from prefork.jobs.client import Offloading, offload
from prefork.jobs.job import Job
from prefork.jobs.options import Offload
from tests.jobs import work
from tests.jobs.backend import Desk, call_of, state


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = installed(Desk())
    yield made
    client.uninstall(made.pool)


def installed(desk: Desk) -> Desk:
    client.install(desk.pool)
    return desk


def answer(desk: Desk, count: int = 1) -> list[Job]:
    """Run the next jobs, by hand."""
    jobs = []
    for _ in range(count):
        job = desk.take()
        function, args, kwargs, _ = call_of(job)
        desk.pool.returned(job, function(*args, **kwargs), 0.0)
        jobs.append(job)
    desk.loop.run()
    return jobs


async def collect(items: AsyncIterator[Any], into: list[Any]) -> None:
    async for item in items:
        into.append(item)


# -- one call


def test_a_call_gives_what_the_function_returns(desk: Desk) -> None:
    task = desk.loop.start(offload(work.echo, 1, "two", key=3))
    answer(desk)
    assert task.result() == ((1, "two"), {"key": 3})


def test_a_call_that_is_refused_raises(desk: Desk) -> None:
    with pytest.raises(Unsendable, match="is a lambda"):
        desk.loop.result(offload(work.nameless, 1))
    with pytest.raises(Unsendable, match="is async def"):
        desk.loop.call(lambda: offload.start(work.coroutine_function))


def test_a_call_whose_caller_is_cancelled_is_ended(desk: Desk) -> None:
    task = desk.loop.start(offload(work.double, 1))
    job = desk.take()
    task.cancel()
    desk.loop.run()
    assert state(job) is State.CANCELLED
    assert desk.backend.told_of("end") == [job]


def test_a_job_that_is_started_runs_without_anybody_waiting(desk: Desk) -> None:
    job = desk.loop.call(lambda: offload.start(work.double, 4))
    assert answer(desk) == [job]
    assert job.outcome.result() == 8


# -- options


def test_other_options_are_a_new_thing_and_leave_the_old_as_it_was(desk: Desk) -> None:
    quick = offload.using(timeout=0.5, priority=10)
    quicker = quick.using(timeout=0.1)
    jobs = [desk.loop.call(lambda o=o: o.start(work.double, 1)) for o in (offload, quick, quicker)]
    assert [(job.terms.timeout, job.terms.priority) for job in jobs] == [(30.0, 0), (0.5, 10), (0.1, 10)]


def test_options_can_be_given_as_one(desk: Desk) -> None:
    options = Offload(timeout=1, memory="1M")
    job = desk.loop.call(lambda: offload.using(options, priority=3).start(work.double, 1))
    assert (job.terms.timeout, job.terms.memory, job.terms.priority) == (1.0, 1 << 20, 3)


def test_wrong_options_are_refused_where_they_are_written() -> None:
    with pytest.raises(ValueError, match="timeout"):
        offload.using(timeout=-1)
    with pytest.raises(ValueError, match="idempotent"):
        offload.using(retries=1)
    with pytest.raises(TypeError, match="speed"):
        offload.using(speed=1)


def test_what_is_not_said_is_as_the_settings_of_the_pool_say() -> None:
    one, two = Desk(offload_timeout_seconds=1), Desk(offload_timeout_seconds=2)
    same = Offloading()
    for desk in (one, two, one):
        installed(desk)
        assert desk.loop.call(lambda: same.start(work.double, 1)).terms == Offload().terms(desk.pool.settings)
    client.uninstall(one.pool)
    client.uninstall(two.pool)


# -- where calls are refused


def test_a_call_within_a_job_is_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_forbidden", "")
    client.forbid("offload() within a job: call the function itself")
    with pytest.raises(OffloadError, match=r"within a job: call the function itself$"):
        desk.loop.result(offload(work.double, 1))
    with pytest.raises(OffloadError, match="within a job"):
        desk.loop.result(collect(offload.map(work.double, [1]), []))


def test_a_call_outside_of_an_event_loop_is_refused() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        offload.start(work.double, 1)


def test_progress_outside_of_a_job_does_nothing() -> None:
    offload.progress(0.5, "half")


# -- streams


def test_a_stream_gives_items_as_they_come(desk: Desk) -> None:
    got: list[Any] = []
    task = desk.loop.start(collect(offload.stream(work.count, 3), got))
    job = desk.take()
    assert call_of(job)[1] == (work.count, 3)
    assert job.name == "tests.jobs.work.count"
    for number in range(3):
        desk.pool.add_item(job, number)
        desk.loop.run()
        assert got == list(range(number + 1))
    desk.pool.returned(job, None, 0.0)
    desk.loop.run()
    assert task.done()
    assert got == [0, 1, 2]
    assert desk.backend.told_of("end") == []


def test_a_stream_that_is_left_early_ends_its_job(desk: Desk) -> None:
    async def take_one() -> Any:
        async with aclosing(offload.stream(work.count, 3)) as stream:
            return await anext(stream)

    task = desk.loop.start(take_one())
    job = desk.take()
    desk.pool.add_item(job, 0)
    desk.loop.run()
    assert task.result() == 0
    assert desk.backend.told_of("end") == [job]


@pytest.mark.parametrize("items", [0, 1])
def test_a_stream_whose_reader_is_cancelled_ends_its_job(desk: Desk, items: int) -> None:
    task = desk.loop.start(collect(offload.stream(work.count, 3), []))
    job = desk.take()
    for number in range(items):
        desk.pool.add_item(job, number)
    desk.loop.run()
    task.cancel()
    desk.loop.run()
    assert task.cancelled()
    assert desk.backend.told_of("end") == [job]


def test_a_stream_that_fails_raises_after_its_items(desk: Desk) -> None:
    got: list[Any] = []
    task = desk.loop.start(collect(offload.stream(work.count_then_fail, 1), got))
    job = desk.take()
    desk.pool.add_item(job, 0)
    desk.pool.raised(job, LookupError("half way"), 0.0)
    desk.loop.run()
    assert isinstance(task.exception(), LookupError)
    assert got == [0]


# -- map


@pytest.mark.parametrize(("ahead", "most"), [(None, 4), (1, 1), (3, 3)])
def test_a_map_keeps_so_many_jobs_at_a_time_and_takes_items_as_it_needs_them(ahead: int | None, most: int) -> None:
    desk = installed(Desk(2))
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(10):
            taken.append(number)
            yield number

    got: list[int] = []
    task = desk.loop.start(collect(offload.map(work.double, items(), ahead=ahead), got))
    assert len(desk.pool.jobs) == most
    while not task.done():
        assert len(desk.pool.jobs) <= most
        assert len(taken) <= len(got) + most + 1
        answer(desk)
    assert got == [2 * number for number in range(10)]
    client.uninstall(desk.pool)


def test_results_of_a_map_come_in_the_order_of_its_items_whoever_is_first() -> None:
    desk = installed(Desk(2))
    got: list[int] = []
    task = desk.loop.start(collect(offload.map(work.double, [1, 2]), got))
    first, second = desk.take(), desk.take()
    desk.pool.returned(second, 4, 0.0)
    desk.loop.run()
    assert got == []
    desk.pool.returned(first, 2, 0.0)
    desk.loop.run()
    assert got == [2, 4]
    assert task.done()
    client.uninstall(desk.pool)


def test_a_map_takes_asynchronous_items(desk: Desk) -> None:
    async def items() -> AsyncIterator[int]:
        for number in range(3):
            await asyncio.sleep(0)
            yield number

    got: list[int] = []
    task = desk.loop.start(collect(offload.map(work.double, items()), got))
    while not task.done():
        answer(desk)
    assert got == [0, 2, 4]


@pytest.mark.parametrize("nothing", [[], ()])
def test_a_map_of_nothing_is_empty(desk: Desk, nothing: Any) -> None:
    got: list[int] = []
    desk.loop.result(collect(offload.map(work.double, nothing), got))
    assert got == []
    assert not desk.pool.jobs


def test_the_first_error_of_a_map_ends_it_and_what_still_runs() -> None:
    desk = installed(Desk(2))
    got: list[int] = []
    task = desk.loop.start(collect(offload.map(work.double, range(10)), got))
    first, second, third = desk.take(), desk.take(), desk.take()
    desk.pool.returned(first, 0, 0.0)
    desk.pool.raised(second, LookupError("no"), 0.0)
    desk.loop.run()
    assert got == [0]
    assert isinstance(task.exception(), LookupError)
    assert state(third) is State.CANCELLED
    assert not desk.pool.jobs
    client.uninstall(desk.pool)


def test_the_other_errors_of_a_map_that_has_ended_are_not_told() -> None:
    desk = installed(Desk(2))
    task = desk.loop.start(collect(offload.map(work.double, range(4)), []))
    for number in range(3):
        desk.pool.raised(desk.take(), LookupError(number), 0.0)
    desk.loop.run()
    assert repr(task.exception()) == "LookupError(0)"
    client.uninstall(desk.pool)
    desk.backend.told.clear()
    del task
    gc.collect()
    assert desk.loop.faults == []


@pytest.mark.parametrize("ahead", [0, -1])
def test_a_map_of_less_than_one_job_at_a_time_is_refused(desk: Desk, ahead: int) -> None:
    task = desk.loop.start(collect(offload.map(work.double, [1], ahead=ahead), []))
    assert isinstance(task.exception(), ValueError)
    assert not desk.pool.jobs


def test_a_map_whose_reader_is_cancelled_ends_all_its_jobs() -> None:
    desk = installed(Desk(2))
    task = desk.loop.start(collect(offload.map(work.double, range(10)), []))
    running = [desk.take(), desk.take()]
    task.cancel()
    desk.loop.run()
    assert task.cancelled()
    assert not desk.pool.jobs
    assert desk.backend.told_of("end") == running
    client.uninstall(desk.pool)


def test_a_map_waits_for_room_that_it_takes_itself() -> None:
    desk = installed(Desk(1, offload_queue=1))
    got: list[int] = []
    task = desk.loop.start(collect(offload.map(work.double, range(5), ahead=4), got))
    assert len(desk.pool.jobs) == 1  # nothing runs yet: the only place is taken
    while not task.done():
        answer(desk)
    assert got == [0, 2, 4, 6, 8]
    client.uninstall(desk.pool)


def test_a_map_that_finds_no_room_at_all_raises() -> None:
    desk = installed(Desk(1, offload_queue=0))
    desk.running()
    task = desk.loop.start(collect(offload.map(work.double, [1]), []))
    assert isinstance(task.exception(), QueueFull)
    client.uninstall(desk.pool)


def test_jobs_of_a_pool_that_closes_end_for_who_awaits_them(desk: Desk) -> None:
    task = desk.loop.start(offload(work.double, 1))
    desk.loop.result(desk.pool.close())
    assert isinstance(task.exception(), Cancelled)
