"""`prefork top` in a real terminal, over a real server: what it shows, what its keys do, and that the terminal is given
back however it ends."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.processes.patience import GUARD_SECONDS
from tests.processes.tree import ROOT, Tree

pytestmark = pytest.mark.processes

OTHER_SCREEN, FIRST_SCREEN = "\x1b[?1049h", "\x1b[?1049l"
CURSOR = "\x1b[?25h"
READ_BYTES = 65536


class Terminal:
    """A terminal of 100 columns and 30 lines, and the program that has it."""

    def __init__(self, *command: str) -> None:
        self._end, self._slave = pty.openpty()
        termios.tcsetwinsize(self._slave, (30, 100))
        self._before = termios.tcgetattr(self._slave)
        self._written = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "prefork", *command],
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            env={**_environment(), "TERM": "xterm"},
            start_new_session=True,
        )

    def press(self, keys: str) -> None:
        """Type; what was written before does not count any more."""
        self._written = ""
        os.write(self._end, keys.encode())

    def wait(self, pattern: str) -> str:
        """Wait until it has written this. Returns all it wrote since the last key."""
        end = time.monotonic() + GUARD_SECONDS
        while not re.search(pattern, self._written):
            ready, _, _ = select.select([self._end], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"no {pattern!r} in {self._written!r}"
            self._written += os.read(self._end, READ_BYTES).decode()
        return self._written

    def resize(self, lines: int, columns: int) -> None:
        self._written = ""
        termios.tcsetwinsize(self._slave, (lines, columns))
        self.process.send_signal(signal.SIGWINCH)  # the kernel does that where the terminal is the controlling one

    def wait_end(self) -> int:
        """Wait until the program has ended and the terminal is as it was before. Returns the exit code."""
        self.wait(re.escape(FIRST_SCREEN))
        code = self.process.wait(GUARD_SECONDS)
        assert CURSOR in self._written
        assert termios.tcgetattr(self._slave) == self._before
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._end)
        os.close(self._slave)


def _environment() -> dict[str, str]:
    """Without the size that whoever runs the tests may have: it counts more than the terminal's."""
    ours = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    return {**ours, "PYTHONPATH": str(ROOT)}


@contextmanager
def top(*flags: str) -> Iterator[Terminal]:
    terminal = Terminal("top", "--interval", "0.2", *flags)
    try:
        yield terminal
    finally:
        terminal.close()


def print_once(path: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "prefork", "top", "--once", "--control", path],
        capture_output=True,
        text=True,
        env={**_environment(), "COLUMNS": "100"},
        timeout=GUARD_SECONDS,
    )


def test_it_shows_the_server_obeys_keys_and_gives_the_terminal_back(tree: Tree) -> None:
    path = str(tree.folder / "control")
    tree.start("faults:app", "--control", path, "--name", "shop")
    shown = print_once(path)
    assert (shown.returncode, shown.stderr, "\x1b" in shown.stdout) == (0, "", False)
    assert re.search(rf"^ +0 ● ready +{tree.worker(0)} +1 +0 +0 +0 ", shown.stdout, re.MULTILINE), shown.stdout
    with top("--control", path) as terminal:
        first = terminal.wait("o sort")
        assert OTHER_SCREEN in first
        assert "2 of 2 workers ready" in first
        assert {str(tree.worker(0)), str(tree.worker(1))} <= set(re.findall(r"\d+", first))
        terminal.press("+")
        terminal.wait("3 of 3 workers ready")
        terminal.press("s")
        assert "run_worker" in terminal.wait("Stacks of slot 0[^$]*q closes")
        terminal.press("q")
        terminal.wait("o sort")
        victim = tree.worker(1)
        terminal.press("\x1b[B")
        terminal.press("k")
        terminal.wait("Worker 1: r retire")
        mark = tree.log.mark()
        terminal.press("k")
        terminal.wait("kill: ")
        assert tree.wait_ready(1, mark) != victim
        terminal.resize(20, 130)
        terminal.wait("NOTE")
        terminal.process.send_signal(signal.SIGTSTP)
        terminal.wait(re.escape(FIRST_SCREEN))
        os.waitid(os.P_PID, terminal.process.pid, os.WSTOPPED)
        terminal.process.send_signal(signal.SIGCONT)
        terminal.wait(re.escape(OTHER_SCREEN))
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.wait_end() == 128 + signal.SIGTERM
    with top("--control", path) as terminal:
        terminal.wait("3 of 3 workers ready")
        tree.stop()
        terminal.wait("trying again")
        terminal.press("?")
        terminal.wait("select a worker")
        terminal.press("qq")
        assert terminal.wait_end() == 0
    gone = print_once(path)
    assert (gone.returncode, gone.stdout, gone.stderr.count("\n")) == (1, "", 1)
    assert gone.stderr.startswith("prefork: error: ")
