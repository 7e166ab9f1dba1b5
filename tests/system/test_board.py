"""An actor process's board, as all who have mapped it see it."""

import os
from collections.abc import Iterator

import pytest

from prefork.system import board
from prefork.system.board import SEATS, Board


@pytest.fixture
def descriptor() -> Iterator[int]:
    made = board.create()
    yield made
    os.close(made)


def test_the_load_is_that_of_all_seats(descriptor: int) -> None:
    process, first, last = Board(descriptor), Board(descriptor), Board(descriptor)
    assert process.load == 0
    for seat in (0, SEATS - 1):
        process.take_seat(seat)
    first.hold(0, 3)
    last.hold(SEATS - 1, 4)
    assert process.load == first.load == 7
    first.hold(0, 1)
    assert last.load == 5
    process.leave_seat(SEATS - 1)
    assert first.load == 1
    for view in (process, first, last):
        view.close()


def test_each_call_that_is_begun_is_counted(descriptor: int) -> None:
    process, other = Board(descriptor), Board(descriptor)
    for now in (1.0, 2.0, 3.0):
        process.begin(now)
        process.end()
    assert other.turns == 3
    process.close()
    other.close()


def test_when_the_call_began_is_told_until_it_has_ended(descriptor: int) -> None:
    process, other = Board(descriptor), Board(descriptor)
    assert other.began == board.began(descriptor) == 0.0
    process.begin(12.5)
    assert other.began == board.began(descriptor) == 12.5
    process.end()
    assert other.began == board.began(descriptor) == 0.0
    process.close()
    other.close()
