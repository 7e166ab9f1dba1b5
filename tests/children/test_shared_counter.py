"""No addition is lost, whoever else adds at the same moment; what is beyond 64 bits is refused."""

import threading
from contextlib import ExitStack

import pytest

from prefork.children import SharedBuffer, SharedCounter
from tests.children.forks import Fork
from tests.children.test_shared_buffer import memfds, sent

PROCESSES = 4
EACH = 25_000


@pytest.fixture
def counter() -> SharedCounter:
    return SharedCounter()


def test_processes_that_add_at_the_same_time_lose_nothing_and_share_no_step(counter: SharedCounter) -> None:
    steps = SharedBuffer(PROCESSES * EACH + 1)

    def add() -> None:
        for _ in range(EACH):
            steps.view[counter.add()] += 1

    with ExitStack() as stack:
        forks = [stack.enter_context(Fork(add)) for _ in range(PROCESSES)]
        assert [fork.wait() for fork in forks] == [0] * PROCESSES
    assert counter.value == PROCESSES * EACH
    assert bytes(steps.view) == b"\0" + b"\1" * (PROCESSES * EACH)


def test_threads_lose_nothing_either(counter: SharedCounter) -> None:
    def add() -> None:
        for _ in range(1000):
            counter.add(2)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.value == 8000


def test_it_adds_subtracts_and_is_set(counter: SharedCounter) -> None:
    assert [counter.add(), counter.add(5), counter.add(-10), counter.value] == [1, 6, -4, -4]
    counter.set(100)
    assert counter.add(0) == 100
    assert repr(counter) == "<SharedCounter 100>"


@pytest.mark.parametrize(("last", "step"), [(2**63 - 1, 1), (-(2**63), -1)])
def test_the_last_number_of_64_bits_is_kept_and_the_next_is_refused(
    counter: SharedCounter, last: int, step: int
) -> None:
    counter.set(last - step)
    assert counter.add(step) == last
    with pytest.raises(OverflowError, match="64 bits"):
        counter.add(step)
    with pytest.raises(OverflowError, match="64 bits"):
        counter.set(last + step)
    assert counter.value == last
    assert counter.add(-step) == last - step, "it is not left locked"


def test_several_lie_in_one_buffer_and_do_not_disturb_each_other() -> None:
    with SharedBuffer(24) as buffer:
        counters = [SharedCounter(buffer, offset) for offset in range(0, 24, SharedCounter.SIZE)]
        for number, counter in enumerate(counters, 1):
            counter.add(number)
        assert [counter.value for counter in counters] == [1, 2, 3]


@pytest.mark.parametrize("offset", [-8, 1, 4, 12])
def test_a_place_that_is_not_aligned_is_refused(offset: int) -> None:
    with SharedBuffer(64) as buffer, pytest.raises(ValueError, match="multiple of 8"):
        SharedCounter(buffer, offset)


def test_the_last_place_of_a_buffer_fits_and_the_next_does_not() -> None:
    with SharedBuffer(24) as buffer:
        SharedCounter(buffer, 16)
        with pytest.raises(ValueError, match="takes 8 bytes; at offset 24 a buffer of 24 bytes has less"):
            SharedCounter(buffer, 24)


def test_what_was_sent_counts_in_the_same_place(counter: SharedCounter) -> None:
    other = sent({"there": counter})["there"]
    assert other.add(3) == 3
    assert counter.value == 3


def test_what_is_closed_while_others_count_opens_nothing_again() -> None:
    with SharedBuffer(SharedCounter.SIZE) as buffer:
        counter = SharedCounter(buffer)
        locks = buffer.locks  # as a thread has them that is about to add
    with SharedBuffer(SharedCounter.SIZE) as other:  # its descriptor has the number of the closed one
        assert other.locks.try_lock(0)
        with pytest.raises(ValueError, match="closed"):
            locks.try_lock(0)
        with pytest.raises(ValueError, match="closed"):
            counter.add()


def test_it_leaves_no_descriptor() -> None:
    before = memfds()
    counter = SharedCounter()
    counter.add()
    other = sent(counter)
    other.add()
    del counter, other
    assert memfds() == before
