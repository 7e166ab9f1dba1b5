"""Shared memory goes to jobs and comes back from them without being copied, whatever happens on the way."""

import gc
import os
import pickle
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from prefork.children.memory.buffer import SharedBuffer
from prefork.children.memory.counter import SharedCounter
from prefork.errors import Cancelled, OffloadError, Unsendable
from prefork.jobs import dask_worker, wire
from prefork.jobs.lending import MOST
from prefork.jobs.local import SLOW_SECONDS
from prefork.jobs.payload import BIG_BYTES, encode
from prefork.jobs.runner import stream_call
from tests.jobs import work
from tests.jobs.backend import error
from tests.jobs.ends import Near, Start
from tests.jobs.site import Site

BIG = b"x" * BIG_BYTES


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    """No test leaves shared memory behind, neither here nor on the way."""
    yield
    gc.collect()
    assert shared_descriptors() == 0


def shared_descriptors() -> int:
    names = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    return sum("memfd:prefork-shared" in os.readlink(name) for name in names if os.path.lexists(name))


@contextmanager
def no_descriptors_left() -> Iterator[None]:
    """Within it, this process can open none."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


# -- a real runner


@pytest.fixture
def near(start: Start) -> Near:
    return start()


def fill(buffer: SharedBuffer, byte: int, *_: Any) -> None:
    buffer.view[:] = bytes([byte]) * buffer.size


def items_of(buffer: SharedBuffer, count: int) -> Iterator[SharedBuffer]:
    yield from [buffer] * count


def give_back(buffer: SharedBuffer, *with_it: Any) -> Any:
    return [buffer, *with_it]


@pytest.mark.parametrize("beside", [(), (BIG,)], ids=["in a message", "beside an arena"])
def test_what_a_job_writes_is_seen_by_who_sent_the_buffer(near: Near, beside: tuple[bytes, ...]) -> None:
    for byte in (7, 8):
        with SharedBuffer(100) as buffer:
            assert near.ask(fill, buffer, byte, *beside).kind == wire.RESULT
            assert bytes(buffer.view) == bytes([byte]) * 100


@pytest.mark.parametrize("beside", [(), (BIG,)], ids=["in a message", "beside an arena"])
def test_a_result_may_hold_shared_memory(near: Near, beside: tuple[bytes, ...]) -> None:
    with SharedBuffer(100) as buffer:
        returned, *rest = near.ask(give_back, buffer, *beside).value
        returned.view[0] = 9
        assert buffer.view[0] == 9
        assert rest == list(beside)
        returned.close()


def test_an_item_of_a_stream_may_hold_shared_memory(near: Near) -> None:
    with SharedBuffer(1) as buffer:
        number = near.give(stream_call, items_of, buffer, 3)
        *items, last = near.all_of(number)
        assert [item.kind for item in items] == [wire.ITEM] * 3
        assert last.kind == wire.RESULT
        for item in items:
            item.value.view[0] += 1
        assert buffer.view[0] == 3
        del items, item, last


def test_memory_that_a_job_makes_outlives_it(near: Near) -> None:
    buffer = near.ask(SharedBuffer, 10).value
    assert bytes(buffer.view) == bytes(10)
    del buffer


def test_a_counter_is_counted_in_by_a_job(near: Near) -> None:
    counter = SharedCounter()
    assert near.ask(SharedCounter.add, counter, 5).value == 5
    assert counter.add(1) == 6


def test_a_runner_without_a_descriptor_left_says_so_and_goes_on(near: Near) -> None:
    with SharedBuffer(100) as buffer, SharedBuffer(100) as other:
        payload = encode((fill, (buffer, 1, other), {}, None))
        with no_descriptors_left():  # the runner is a thread of ours
            near.send(wire.JOB, payload, 1)
            told = near.read()
        assert "too many open files" in str(told.error)
        assert isinstance(told.error, OSError)
        assert near.ask(fill, buffer, 2).kind == wire.RESULT
        assert buffer.view[0] == 2
        del payload


# -- a real worker's side


def test_a_buffer_that_is_closed_while_its_job_waits_still_arrives(site: Site) -> None:
    buffer = SharedBuffer(1)
    view = buffer.view
    job = site.submit(fill, buffer, 1)
    buffer.close()
    del buffer
    (far,) = [site.boot(number) for number in site.orders]
    message = far.read_next()
    assert message is not None
    function, args, _, _ = message.value
    function(*args)
    assert view[0] == 1
    site.returns(far, job.number)
    assert job.outcome.done()
    del message, args, view


def test_jobs_that_are_taken_back_take_their_memory_along(site: Site) -> None:
    with SharedBuffer(1) as buffer:
        far = site.quick()
        first, second = site.submit(), site.submit(fill, buffer, 1)
        assert far.take() == first.number
        site.loop.advance(SLOW_SECONDS)
        site.loop.advance(SLOW_SECONDS)
        assert far.given() == []
        site.returns(far, first.number)
        message = far.read_next()
        assert message is not None
        assert message.number == second.number
        message.value[1][0].view[0] = 5
        assert buffer.view[0] == 5
        site.returns(far, second.number)
        del message


def test_a_job_that_ends_unsent_gives_its_memory_back(site: Site) -> None:
    job = site.submit(fill, SharedBuffer(1), 1)
    assert shared_descriptors() > 0
    site.loop.call(job.cancel)
    assert isinstance(error(job), Cancelled)
    gc.collect()
    assert shared_descriptors() == 0


@pytest.mark.parametrize("beside", [(), (BIG,)], ids=["in a message", "beside an arena"])
def test_a_result_arrives_and_one_that_nobody_wants_any_more_is_closed(site: Site, beside: tuple[bytes, ...]) -> None:
    (far,) = site.booted()
    with SharedBuffer(4) as buffer:
        job = site.submit()
        site.returns(far, far.take(), [buffer, *beside])
        returned = job.outcome.result()[0]
        returned.view[0] = 1
        assert buffer.view[0] == 1
        del returned, job
        late = site.submit()
        number = far.take()
        far.returns(number, [buffer, *beside])
        site.loop.call(late.cancel)
        site.loop.run()
        del late


@pytest.mark.parametrize("beside", [(), (BIG,)], ids=["in a message", "beside an arena"])
def test_a_worker_without_a_descriptor_left_fails_the_job_and_goes_on(site: Site, beside: tuple[bytes, ...]) -> None:
    (far,) = site.booted()
    with SharedBuffer(4) as buffer:
        job = site.submit()
        far.take()
        far.returns(job.number, [buffer, *beside])
        with no_descriptors_left():
            site.loop.run()
        assert isinstance(error(job), OffloadError)
        assert "descriptor" in str(error(job))
        again = site.submit()
        site.returns(far, far.take(), "more")
        assert again.outcome.result() == "more"


# -- what cannot be sent


def test_too_many_in_one_call_are_refused_with_the_bound(site: Site) -> None:
    buffers = [SharedBuffer(1) for _ in range(MOST + 1)]
    with pytest.raises(Unsendable, match=f"at most {MOST} descriptors"):
        site.submit(fill, buffers)
    del buffers


def test_dask_is_refused_shared_memory_with_the_reason() -> None:
    with (
        SharedBuffer(1) as buffer,
        pytest.raises(Unsendable, match=r"the result of f: .* Dask cluster may be on others"),
    ):
        dask_worker.check(encode(buffer), 1 << 30, "the result of f")


def test_an_exception_that_holds_shared_memory_arrives_by_its_words(near: Near) -> None:
    told = near.ask(work.fail_by_type, ValueError, SharedBuffer(1))
    assert told.kind == wire.ERROR
    assert "SharedBuffer" in str(told.error)
    with pytest.raises(Unsendable):
        pickle.dumps(SharedBuffer(1))
