"""Connections on their way to a worker: in batches, taken whole, by whoever reads first."""

import os
import resource
import socket
from collections.abc import Iterator

import pytest

from prefork.system import handoff
from prefork.system.channel import seqpacket_pair
from prefork.system.handoff import BATCH, LOST, Passed


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The master's end, and the worker's."""
    pair = seqpacket_pair()
    yield pair
    for end in pair:
        end.close()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """What is passed: any descriptor does."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def close(passed: list[Passed]) -> None:
    for connection in passed:
        os.close(connection.descriptor)


def same(descriptor: int, other: int) -> bool:
    return os.path.sameopenfile(descriptor, other)


def test_a_connection_arrives_with_the_index_of_its_listener(
    ends: tuple[socket.socket, socket.socket], pipe: tuple[int, int]
) -> None:
    assert handoff.put(ends[0], [Passed(pipe[0], 3)])
    (taken,) = handoff.take(ends[1])
    assert taken.listener == 3
    assert same(taken.descriptor, pipe[0])
    assert not os.get_inheritable(taken.descriptor)
    close([taken])


@pytest.mark.parametrize("count", [1, 2, BATCH - 1, BATCH])
def test_a_batch_arrives_whole_and_in_order(
    ends: tuple[socket.socket, socket.socket], pipe: tuple[int, int], count: int
) -> None:
    assert handoff.put(ends[0], [Passed(pipe[number % 2], number) for number in range(count)])
    taken = handoff.take(ends[1])
    assert [connection.listener for connection in taken] == list(range(count))
    assert all(same(connection.descriptor, pipe[connection.listener % 2]) for connection in taken)
    assert handoff.take(ends[1]) == []
    close(taken)


def test_the_sender_still_owns_its_copies(ends: tuple[socket.socket, socket.socket], pipe: tuple[int, int]) -> None:
    handoff.put(ends[0], [Passed(pipe[0], 0)])
    os.fstat(pipe[0])
    close(handoff.take(ends[1]))
    os.fstat(pipe[0])


def test_an_unread_message_goes_to_whichever_end_reads_first_and_only_to_it(
    ends: tuple[socket.socket, socket.socket], pipe: tuple[int, int]
) -> None:
    masters_copy = ends[1].dup()
    for number in range(3):
        handoff.put(ends[0], [Passed(pipe[0], number), Passed(pipe[1], number)])
    first, second, third = handoff.take(masters_copy), handoff.take(ends[1]), handoff.take(masters_copy)
    assert [[connection.listener for connection in taken] for taken in (first, second, third)] == [
        [0, 0],
        [1, 1],
        [2, 2],
    ]
    assert handoff.take(ends[1]) == handoff.take(masters_copy) == []
    close(first + second + third)
    masters_copy.close()


def test_what_a_dead_worker_never_read_can_be_taken_back(
    ends: tuple[socket.socket, socket.socket], pipe: tuple[int, int]
) -> None:
    masters_copy = ends[1].dup()
    handoff.put(ends[0], [Passed(pipe[0], 1)])
    ends[1].close()
    assert handoff.put(ends[0], [Passed(pipe[0], 2)])  # nor is what was sent before its death was noticed lost
    taken = handoff.take(masters_copy) + handoff.take(masters_copy)
    assert [connection.listener for connection in taken] == [1, 2]
    close(taken)
    masters_copy.close()


def test_a_full_queue_refuses_and_keeps_what_it_holds(
    ends: tuple[socket.socket, socket.socket], pipe: tuple[int, int]
) -> None:
    sent = 0
    while handoff.put(ends[0], [Passed(pipe[0], sent % 256)]):
        sent += 1
    assert sent > 1
    for number in range(sent):
        taken = handoff.take(ends[1])
        assert [connection.listener for connection in taken] == [number % 256]
        close(taken)
    assert handoff.put(ends[0], [Passed(pipe[0], 0)])


def test_a_queue_without_any_reader_refuses(ends: tuple[socket.socket, socket.socket], pipe: tuple[int, int]) -> None:
    ends[1].close()
    assert not handoff.put(ends[0], [Passed(pipe[0], 0)])


def test_an_empty_queue_has_nothing_and_does_not_wait(ends: tuple[socket.socket, socket.socket]) -> None:
    assert handoff.take(ends[1]) == []
    ends[0].close()
    assert handoff.take(ends[1]) == []


def test_a_connection_that_a_process_has_no_room_for_is_told_and_not_forgotten(
    ends: tuple[socket.socket, socket.socket], pipe: tuple[int, int]
) -> None:
    assert handoff.put(ends[0], [Passed(pipe[0], 0), Passed(pipe[1], 1), Passed(pipe[0], 2)])
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(pipe[0])
    os.close(free)  # the lowest that is free: the limit leaves room for this one
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, before[1]))
    try:
        taken = handoff.take(ends[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert taken == [Passed(free, 0), Passed(LOST, 1), Passed(LOST, 2)]
    assert handoff.take(ends[1]) == []
    os.close(free)
