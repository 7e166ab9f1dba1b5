"""A pid file names the living server, is never two servers', and is removed only by the one who wrote it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from prefork.errors import UsageError
from prefork.system.pid_file import PidFile

HOLDER = """
import sys
from prefork.system.pid_file import PidFile
file = PidFile(sys.argv[1])
file.check()
file.write()
print("written", flush=True)
sys.stdin.read()
file.remove()
print("removed", file.ours, flush=True)
"""


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the file, until its input ends."""
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        yield process


def test_it_holds_the_pid_and_goes_with_its_server(tmp_path: Path) -> None:
    path = tmp_path / "server.pid"
    file = PidFile(str(path))
    file.check()
    file.write()
    file.check()
    assert path.read_text() == f"{os.getpid()}\n"
    assert file.ours
    file.remove()
    assert list(tmp_path.iterdir()) == []
    file.remove()


def test_that_of_a_server_that_lives_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "server.pid"
    with holder(path) as other:
        with pytest.raises(UsageError, match=f"the server with pid {other.pid} is running"):
            PidFile(str(path)).check()
        assert path.read_text() == f"{other.pid}\n"


def test_that_of_a_server_that_was_killed_is_replaced_though_its_number_lives(tmp_path: Path) -> None:
    path = tmp_path / "server.pid"
    with holder(path) as other:
        other.send_signal(signal.SIGKILL)
    path.write_text("1\n")  # the number is somebody else's by now
    file = PidFile(str(path))
    file.check()
    file.write()
    assert path.read_text() == f"{os.getpid()}\n"
    file.remove()


def test_an_upgrade_takes_it_over_and_the_old_server_leaves_it(tmp_path: Path) -> None:
    path = tmp_path / "server.pid"
    with holder(path) as old:
        file = PidFile(str(path))
        file.check(taking_over_from=old.pid)
        file.write()
        assert old.communicate("")[0] == "removed False\n"
    assert path.read_text() == f"{os.getpid()}\n"
    file.remove()


def test_a_server_may_take_it_back(tmp_path: Path) -> None:
    path = tmp_path / "server.pid"
    file = PidFile(str(path))
    file.write()
    assert is_ours(file)
    with holder_after(file, path):
        assert not is_ours(file)
    file.write()
    assert is_ours(file)
    assert path.read_text() == f"{os.getpid()}\n"
    file.remove()


def is_ours(file: PidFile) -> bool:
    """Asked anew each time, where a type checker would remember what it was."""
    return file.ours


@contextmanager
def holder_after(file: PidFile, path: Path) -> Iterator[None]:
    """Another process takes it over and is killed."""
    program = HOLDER.replace("file.check()", f"file.check(taking_over_from={os.getpid()})")
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        yield
        process.kill()


@pytest.mark.parametrize("content", ["import os\n", "12 13", "1" * 40])
def test_what_is_no_pid_file_is_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "main.py"
    path.write_text(content)
    with pytest.raises(UsageError, match="holds no pid"):
        PidFile(str(path)).check()
    assert path.read_text() == content


def test_where_it_cannot_be_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot write .*nowhere/pid: no such file or directory"):
        PidFile(str(tmp_path / "nowhere" / "pid")).write()
    with pytest.raises(UsageError, match="is a directory"):
        PidFile(str(tmp_path)).check()
    assert list(tmp_path.iterdir()) == []
