"""What is written on a sheet is read whole, or as it was before."""

import os
from collections.abc import Iterator

import pytest

from prefork.system import sheet
from prefork.system.sheet import TEXT_BYTES, Sheet, SheetWriter


@pytest.fixture
def descriptor() -> Iterator[int]:
    made = sheet.create()
    yield made
    os.close(made)


def test_the_reader_sees_what_was_written_last(descriptor: int) -> None:
    writer, reader = SheetWriter(descriptor), Sheet(descriptor)
    assert reader.read() == b""
    for text in (b"one", b"", b"x" * TEXT_BYTES, b"two"):
        writer.write(text)
        assert reader.read() == text
    with pytest.raises(ValueError, match="do not fit"):
        writer.write(b"x" * (TEXT_BYTES + 1))
    assert reader.read() == b"two"
    reader.close()


def test_what_a_killed_writer_left_half_done_is_not_read(descriptor: int) -> None:
    writer, reader = SheetWriter(descriptor), Sheet(descriptor)
    writer.write(b"whole")
    assert reader.read() == b"whole"
    writer._words[0] += 1  # it began, and was killed
    writer._memory[16:21] = b"WHOLE"
    assert reader.read() == b"whole"
    assert Sheet(descriptor).read() == b""


def test_the_same_text_is_not_written_again(descriptor: int) -> None:
    writer = SheetWriter(descriptor)
    writer.write(b"same")
    turn = writer._words[0]
    writer.write(b"same")
    assert writer._words[0] == turn


def test_a_reader_beside_a_busy_writer_sees_whole_texts(descriptor: int) -> None:
    reader = Sheet(descriptor)
    child = os.fork()
    if child == 0:
        writer = SheetWriter(descriptor)
        for number in range(20_000):
            writer.write(bytes([65 + number % 26]) * (number % 3000))
        os._exit(0)
    mixed = 0
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        mixed += len(set(reader.read())) > 1
    assert mixed == 0
