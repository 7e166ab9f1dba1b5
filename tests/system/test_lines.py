"""Lines written behind the event loop's back: all of them, in order, and never in its way."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefork.errors import UsageError
from prefork.system.lines import HELD_BYTES, LineFile
from prefork.system.log import PIPE_BYTES
from tests.processes.patience import GUARD_SECONDS


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[int]:
    """The reading end of a pipe at `tmp_path / "lines"`, which holds 64 KiB."""
    os.mkfifo(tmp_path / "lines")
    reader = os.open(tmp_path / "lines", os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)
    yield reader
    os.close(reader)


def test_lines_are_written_in_order_once_flushed(tmp_path: Path) -> None:
    lines = LineFile(str(tmp_path / "lines"))
    lines.add(b"one\n")
    assert (tmp_path / "lines").read_bytes() == b""
    lines.add(b"two\n")
    lines.flush()
    lines.add(b"three\n")
    lines.close(GUARD_SECONDS)
    assert (tmp_path / "lines").read_bytes() == b"one\ntwo\nthree\n"


def test_flush_without_lines_does_nothing(tmp_path: Path) -> None:
    lines = LineFile(str(tmp_path / "lines"))
    lines.flush()
    lines.close(GUARD_SECONDS)
    assert (tmp_path / "lines").read_bytes() == b""


def test_a_reader_that_does_not_read_never_blocks_whoever_adds(tmp_path: Path, pipe: int) -> None:
    line = b"x" * 1023 + b"\n"
    lines = LineFile(str(tmp_path / "lines"))
    for _ in range(200):  # more than a pipe holds: the writing thread waits, we do not
        lines.add(line)
    lines.flush()
    lines.add(b"later\n")
    lines.flush()
    received = b""
    while len(received) < 200 * len(line):
        received += os.read(pipe, 65536)
    lines.close(GUARD_SECONDS)
    assert received + os.read(pipe, 65536) == line * 200 + b"later\n"


def test_what_is_queued_is_bounded_and_what_is_lost_is_counted(tmp_path: Path) -> None:
    lost: list[int] = []
    lines = LineFile(str(tmp_path / "lines"), lost.append)
    line = b"x" * (HELD_BYTES // 4 - 1) + b"\n"
    for _ in range(6):
        lines.add(line)
    assert lost == [1, 1]
    lines.close(GUARD_SECONDS)
    assert (tmp_path / "lines").stat().st_size == 4 * len(line)
    lines.add(b"x\n")
    assert lost == [1, 1]  # once written there is room again


def test_lines_that_a_full_disk_does_not_take_are_counted_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lost: list[int] = []
    lines = LineFile(str(tmp_path / "lines"), lost.append)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))  # a write is cut there, and the next one fails
        for batch in ([b"one\n", b"two\n", b"three\n", b"four\n"], [b"five\n"]):
            for line in batch:
                lines.add(line)
            lines.finish(GUARD_SECONDS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    lines.add(b"six\n")
    lines.close(GUARD_SECONDS)
    assert lost == [2, 1]
    assert caplog.messages == [f"cannot write the access log {tmp_path}/lines: file too large; lines are lost"]
    assert (tmp_path / "lines").read_bytes() == b"one\ntwo\nth\nsix\n"


def test_lines_to_a_pipe_go_in_pieces_that_do_not_mix_with_others(tmp_path: Path, pipe: int) -> None:
    theirs = os.open(tmp_path / "lines", os.O_WRONLY)
    lines = LineFile(str(tmp_path / "lines"))
    line = b"a" * 600 + b"\n"
    for _ in range(60):
        lines.add(line)
    lines.flush()
    for _ in range(60):
        os.write(theirs, b"b\n")
    lines.close(GUARD_SECONDS)
    os.close(theirs)
    received = b""
    while len(received) < 60 * len(line) + 120:
        received += os.read(pipe, 65536)
    assert sorted(received.splitlines(True)) == [line] * 60 + [b"b\n"] * 60
    assert len(line) < PIPE_BYTES


def test_a_file_that_was_moved_away_is_opened_anew_by_name(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    lines = LineFile(str(path))
    lines.add(b"before\n")
    lines.flush()
    lines.close(GUARD_SECONDS)
    lines = LineFile(str(path))
    path.rename(tmp_path / "old")
    lines.reopen()
    lines.add(b"after\n")
    lines.close(GUARD_SECONDS)
    assert (tmp_path / "old").read_bytes() == b"before\n"
    assert path.read_bytes() == b"after\n"


def test_a_reader_that_is_gone_is_no_error_of_ours(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "lines")
    reader = os.open(tmp_path / "lines", os.O_RDONLY | os.O_NONBLOCK)
    lines = LineFile(str(tmp_path / "lines"))
    os.close(reader)
    lines.add(b"to nobody\n")
    lines.close(GUARD_SECONDS)


def test_a_file_that_cannot_be_opened_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no such file or directory$"):
        LineFile(str(tmp_path / "no/lines"))
