"""Shared memory is seen by all who have it, is freed with the last of them, and is refused where it cannot go."""

import copy
import gc
import os
import pickle
import sys
from collections.abc import Callable
from typing import Any

import numpy
import pytest

from prefork.children import SharedBuffer
from prefork.errors import ChildError, Unsendable
from prefork.jobs.lending import MOST, arriving, lending
from tests.children.forks import Fork


def memfds() -> int:
    """How many descriptors of shared memory this process has; of mappings that went with a buffer, none is left."""
    gc.collect()
    names = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    return sum("memfd:prefork-shared" in os.readlink(name) for name in names if os.path.lexists(name))


def mapped() -> bool:
    """Whether any shared memory is in our address space."""
    gc.collect()
    with open("/proc/self/maps") as file:
        return "memfd:prefork-shared" in file.read()


def sent(value: Any) -> Any:
    """What another process would get."""
    with lending() as lent:
        stream = pickle.dumps(value)
        arrived = [os.dup(descriptor) for descriptor in lent]
    with arriving(arrived):
        return pickle.loads(stream)


def test_fresh_memory_is_zero_and_of_the_size_that_was_asked_for() -> None:
    with SharedBuffer(10_000) as buffer:
        assert buffer.size == len(buffer) == len(buffer.view) == 10_000
        assert bytes(buffer.view) == bytes(10_000)


def test_what_a_forked_process_writes_is_seen_here_and_the_other_way_round() -> None:
    with SharedBuffer(8) as buffer:
        buffer.view[0] = 1

        def child() -> None:
            assert buffer.view[0] == 1
            buffer.view[1] = 2

        with Fork(child) as fork:
            assert fork.wait() == 0
        assert bytes(buffer.view[:2]) == b"\1\2"


def test_what_was_sent_is_the_same_memory_and_not_a_copy() -> None:
    with SharedBuffer(100) as buffer:
        other = sent(buffer)
        assert isinstance(other, SharedBuffer)
        buffer.view[7] = 77
        assert other.view[7] == 77
        assert other.size == 100
        other.close()


def test_one_buffer_several_times_in_a_message_arrives_as_one() -> None:
    with SharedBuffer(1) as buffer:
        first, second = sent([buffer, buffer])
        assert first is second
        first.close()


@pytest.mark.parametrize("dtype", ["uint8", "float64", numpy.int32, numpy.dtype("<i2")])
def test_an_array_lies_in_the_memory_itself(dtype: object) -> None:
    with SharedBuffer(4096) as buffer:
        array = buffer.array(dtype, (4, 8), offset=64)
        array[:] = 5
        assert buffer.array(dtype, 32, offset=64).sum() == 160
        assert not any(buffer.view[:64])
        assert sent(buffer).array(dtype, 32, offset=64).sum() == 160


def test_an_array_that_ends_with_the_memory_fits_and_one_byte_more_does_not() -> None:
    with SharedBuffer(64) as buffer:
        assert buffer.array("uint8", 60, offset=4).nbytes == 60
        with pytest.raises(ValueError, match="does not fit 64 bytes"):
            buffer.array("uint8", 61, offset=4)
        with pytest.raises(ValueError, match="Python objects"):
            buffer.array(object, 1)


def test_without_numpy_an_array_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    with SharedBuffer(8) as buffer, pytest.raises(ChildError, match="pip install numpy"):
        buffer.array("uint8", 8)


@pytest.mark.parametrize(("size", "kind"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("8", TypeError)])
def test_what_is_no_size_is_refused(size: object, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="size of shared memory"):
        SharedBuffer(size)  # type: ignore[arg-type]


def test_a_number_of_numpy_is_a_size_too() -> None:
    with SharedBuffer(numpy.prod((4, 5))) as buffer:
        assert buffer.size == 20
        assert type(buffer.size) is int


def test_more_than_the_address_space_is_an_error_and_leaves_no_descriptor() -> None:
    before = memfds()
    with pytest.raises(OSError, match=r"Cannot allocate memory|File too large"):
        SharedBuffer(2**60)
    assert memfds() == before


def test_its_size_cannot_be_changed_under_those_who_have_mapped_it() -> None:
    with SharedBuffer(4096) as buffer:
        path = next(
            name
            for name in (f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd"))
            if os.path.lexists(name) and "memfd:prefork-shared" in os.readlink(name)
        )
        for size in (4095, 4097):
            with pytest.raises(PermissionError):
                os.truncate(path, size)
        assert len(buffer.view) == 4096


def test_a_closed_buffer_says_so_whatever_is_asked() -> None:
    buffer = SharedBuffer(8)
    buffer.close()
    buffer.close()
    assert buffer.closed
    assert "closed" in repr(buffer)
    asks: list[Callable[[], object]] = [lambda: buffer.view, lambda: buffer.array("uint8", 8), lambda: sent(buffer)]
    for ask in asks:
        with pytest.raises(ValueError, match="closed"):
            ask()


def test_views_stay_good_when_the_buffer_is_closed_and_keep_the_memory() -> None:
    buffer = SharedBuffer(8)
    view, array = buffer.view, buffer.array("uint8", 8)
    buffer.close()
    view[3] = 9
    assert array[3] == 9
    assert mapped()
    del view, array
    assert not mapped()


def test_descriptors_and_memory_go_with_the_last_reference() -> None:
    before = memfds()
    buffers = [SharedBuffer(4096) for _ in range(10)]
    copies = sent(buffers)
    assert memfds() > before
    del buffers, copies
    assert memfds() == before
    assert not mapped()


def test_the_memory_is_not_among_the_files_of_dev_shm() -> None:
    before = set(os.listdir("/dev/shm"))
    with SharedBuffer(8):
        assert set(os.listdir("/dev/shm")) == before


def test_where_no_descriptor_can_travel_it_is_refused() -> None:
    with SharedBuffer(8) as buffer:
        for copied in (pickle.dumps, copy.copy):
            with pytest.raises(Unsendable, match="jobs, forks and actors of this machine"):
                copied(buffer)


def test_as_many_as_a_message_carries_are_sent_and_one_more_is_refused() -> None:
    buffers = [SharedBuffer(1) for _ in range(MOST + 1)]
    assert len(sent(buffers[:MOST])) == MOST
    with pytest.raises(Unsendable, match=f"at most {MOST} descriptors"):
        sent(buffers)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="PEP 688")
def test_it_is_a_buffer_itself_where_python_lets_it_be() -> None:
    with SharedBuffer(8) as buffer:
        memoryview(buffer)[0] = 1
        assert buffer.view[0] == 1
