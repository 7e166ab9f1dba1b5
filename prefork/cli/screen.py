"""A terminal that is taken for a while: keys come as they are pressed, a screen of its own, all given back in the end.

No thread reads and none draws: one select(2) waits for a key, a signal or the time.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import termios
import tty
from collections.abc import Iterator
from types import FrameType
from typing import Final

from rich.console import Console, RenderableType
from rich.live import Live

READ_BYTES: Final = 1024
ENDINGS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SIGNALS: Final = (*ENDINGS, signal.SIGWINCH, signal.SIGTSTP)


class Screen:
    """Made by `taken`."""

    def __init__(self, console: Console, keyboard: int, signals: int) -> None:
        """`keyboard` is the terminal's descriptor, `signals` the one that signal numbers come from."""
        self.ended_by: signal.Signals | None = None
        self._console = console
        self._keyboard = keyboard
        self._signals = signals
        self._saved = termios.tcgetattr(keyboard)
        self._live: Live | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines, now."""
        return self._console.size.width, self._console.size.height

    def draw(self, what: RenderableType) -> None:
        assert self._live is not None
        self._live.update(what, refresh=True)

    def wait(self, seconds: float) -> bytes:
        """What was typed; b"" when the time is over, or the window has another size, or `ended_by` tells why to end."""
        ready, _, _ = select.select([self._keyboard, self._signals], [], [], max(0.0, seconds))
        if self._signals in ready:
            for number in os.read(self._signals, READ_BYTES):
                self._obey(signal.Signals(number))
        if self._keyboard not in ready or self.ended_by is not None:
            return b""
        try:
            typed = os.read(self._keyboard, READ_BYTES)
        except OSError:  # the terminal has gone (EIO)
            typed = b""
        if not typed:
            self.ended_by = signal.SIGHUP
        return typed

    def enter(self) -> None:
        tty.setcbreak(self._keyboard, termios.TCSADRAIN)
        self._live = Live(console=self._console, screen=True, auto_refresh=False, vertical_overflow="crop")
        self._live.start()

    def leave(self) -> None:
        """Give the terminal back as it was, also when it cannot be written to any more."""
        live, self._live = self._live, None
        try:
            if live is not None:
                live.stop()
        except OSError:
            pass
        finally:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._keyboard, termios.TCSADRAIN, self._saved)

    def _obey(self, number: signal.Signals) -> None:
        if number in ENDINGS:
            self.ended_by = number
        elif number == signal.SIGTSTP:
            self.leave()
            os.kill(os.getpid(), signal.SIGSTOP)  # until the shell's `fg`
            self.enter()


@contextlib.contextmanager
def taken(console: Console, keyboard: int) -> Iterator[Screen]:
    """Take the terminal. However the block ends, it gets its mode, its screen and its cursor back."""
    receive, send = os.pipe()
    os.set_blocking(send, False)
    woken = signal.set_wakeup_fd(send, warn_on_full_buffer=False)
    before = {number: signal.signal(number, _ignore) for number in SIGNALS}
    screen = Screen(console, keyboard, receive)
    try:
        screen.enter()
        yield screen
    finally:
        screen.leave()
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(woken)
        os.close(receive)
        os.close(send)


def _ignore(number: int, frame: FrameType | None) -> None:
    """The number comes by the wake-up descriptor."""
