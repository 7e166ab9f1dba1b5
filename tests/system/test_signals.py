"""Signals as readable numbers."""

import os
import select
import signal
from collections.abc import Iterator

import pytest

from prefork.system.signals import SignalQueue

NUMBERS = (signal.SIGUSR1, signal.SIGUSR2)


@pytest.fixture
def queue() -> Iterator[SignalQueue]:
    queue = SignalQueue(NUMBERS)
    yield queue
    queue.close()


def test_a_signal_makes_the_queue_readable_and_is_drained_once(queue: SignalQueue) -> None:
    assert queue.drain() == []
    signal.raise_signal(signal.SIGUSR1)
    assert select.select([queue], [], [], 0)[0] == [queue]
    assert queue.drain() == [signal.SIGUSR1]
    assert queue.drain() == []


def test_signals_are_drained_in_the_order_they_came(queue: SignalQueue) -> None:
    for number in (signal.SIGUSR2, signal.SIGUSR1, signal.SIGUSR2):
        signal.raise_signal(number)
    assert queue.drain() == [signal.SIGUSR2, signal.SIGUSR1, signal.SIGUSR2]


def test_a_flood_of_signals_neither_blocks_nor_raises(queue: SignalQueue) -> None:
    for _ in range(70_000):  # more than a pipe holds
        signal.raise_signal(signal.SIGUSR1)
    assert signal.SIGUSR1 in queue.drain()


def test_closing_gives_the_signals_back() -> None:
    before = [signal.getsignal(number) for number in NUMBERS]
    queue = SignalQueue(NUMBERS)
    descriptor = queue.fileno()
    queue.close()
    assert [signal.getsignal(number) for number in NUMBERS] == before
    assert signal.set_wakeup_fd(-1) == -1
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_signals_that_our_starter_had_blocked_are_heard() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, NUMBERS)
    try:
        queue = SignalQueue(NUMBERS)
        signal.raise_signal(signal.SIGUSR1)
        assert queue.drain() == [signal.SIGUSR1]
        queue.close()
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) >= set(NUMBERS)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
