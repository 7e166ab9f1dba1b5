"""A terminal that was taken is given back as it was, whatever happens in between."""

import os
import pty
import signal
import termios
from collections.abc import Iterator

import pytest
from rich.console import Console

from prefork.cli.screen import SIGNALS, taken

OTHER_SCREEN, FIRST_SCREEN = b"\x1b[?1049h", b"\x1b[?1049l"


@pytest.fixture
def ends() -> Iterator[tuple[int, int]]:
    """The terminal's, and the program's."""
    end, slave = pty.openpty()
    yield end, slave
    os.close(end)
    os.close(slave)


def test_an_error_gives_the_terminal_and_the_signals_back(ends: tuple[int, int]) -> None:
    end, slave = ends
    before = termios.tcgetattr(slave), [signal.getsignal(number) for number in SIGNALS]
    with open(os.dup(slave), "w") as output:
        console = Console(file=output, force_terminal=True, width=80, height=24)
        with pytest.raises(ZeroDivisionError):
            fail_in(console, slave)
    assert (termios.tcgetattr(slave), [signal.getsignal(number) for number in SIGNALS]) == before
    written = b""
    while FIRST_SCREEN not in written:
        written += os.read(end, 65536)
    assert written.index(OTHER_SCREEN) < written.index(FIRST_SCREEN)


def test_keys_signals_and_the_end_of_time_wake_it(ends: tuple[int, int]) -> None:
    end, slave = ends
    with open(os.dup(slave), "w") as output, taken(Console(file=output, force_terminal=True), slave) as screen:
        assert screen.wait(0.0) == b""
        os.write(end, b"q")
        assert screen.wait(60.0) == b"q"
        os.kill(os.getpid(), signal.SIGWINCH)
        assert (screen.wait(60.0), screen.ended_by) == (b"", None)
        os.kill(os.getpid(), signal.SIGTERM)
        assert (screen.wait(60.0), screen.ended_by) == (b"", signal.SIGTERM)


def fail_in(console: Console, slave: int) -> None:
    with taken(console, slave):
        assert not termios.tcgetattr(slave)[3] & (termios.ECHO | termios.ICANON)
        raise ZeroDivisionError
