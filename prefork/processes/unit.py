"""Keep the service manager informed (systemd, Type=notify): ready, reloading, stopping, one line of status, alive."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from prefork.system.notify import Notifier, reloading

MOST_OWED: Final = 20  # lines
RETRY_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class View:
    """What is to be told of a server."""

    state: str  # booting, ready, draining, stopping
    ready: int  # workers
    wanted: int
    generation: int
    reloading: bool
    heir: int | None  # pid of a new master
    ends: bool  # whether a draining server is about to stop

    @property
    def line(self) -> str:
        """The status in a line, as `systemctl status` shows it."""
        workers = f"{self.ready} worker{'' if self.ready == 1 else 's'}"
        if self.state == "booting":
            return f"booting, {self.ready} of {self.wanted} workers ready"
        if self.state == "draining":
            return f"draining, {workers} still serve{'s' if self.ready == 1 else ''}"
        if self.state == "stopping":
            return "stopping, finishing open requests"
        of = "" if self.ready >= self.wanted else f" of {self.wanted}"
        plural = "" if max(self.ready, self.wanted) == 1 else "s"
        doing = f", upgrading to master {self.heir}" if self.heir else ", reloading" if self.reloading else ""
        return f"{self.ready}{of} worker{plural} ready, generation {self.generation}{doing}"


class Unit:
    """What the service manager was told last, and what it is to be told."""

    def __init__(self, notifier: Notifier, silent: bool) -> None:
        """`silent`: another master speaks, until `speak`."""
        self._notifier = notifier
        self._silent = silent
        self._line = ""
        self._ready = False
        self._reloading = False
        self._stopping = False
        self._owed: list[str] = []  # what the manager had no room for
        self._retry_at = 0.0  # monotonic seconds
        watchdog = notifier.watchdog_seconds
        self._beat_seconds = watchdog / 2 if watchdog is not None and notifier else None
        self._next_beat = 0.0  # monotonic seconds

    def look(self, now: float, view: View) -> None:
        """Tell what has changed, and that the master's loop works."""
        if self._silent or not self._notifier:
            return
        lines: list[str] = []
        if not self._ready and view.state == "ready":
            self._ready = True
            lines.append("READY=1")
        if self._ready and not self._stopping and view.reloading != self._reloading:
            self._reloading = view.reloading
            lines += reloading() if view.reloading else ["READY=1"]
        if not self._stopping and (view.state == "stopping" or (view.state == "draining" and view.ends)):
            self._stopping = True
            lines.append("STOPPING=1")
        if view.line != self._line:
            self._line = view.line
            lines.append(f"STATUS={view.line}")
        if self._beat_seconds is not None and now >= self._next_beat:
            self._next_beat = now + self._beat_seconds
            lines.append("WATCHDOG=1")
        lines = [*self._owed, *lines]
        self._owed = []
        if lines and not self._notifier.send(*lines) and self._notifier.full:
            self._owed = [line for line in lines if not line.startswith("STATUS=")][-MOST_OWED:]
            self._line = ""  # to be told as it is then
            self._retry_at = now + RETRY_SECONDS

    def deadlines(self) -> Iterator[float]:
        """When the next sign of life is due, or what could not be told is to be told again."""
        if self._silent:
            return
        if self._beat_seconds is not None:
            yield self._next_beat
        if self._owed:
            yield self._retry_at

    def hand_over(self, pid: int) -> None:
        """Another master is the service from now on, and speaks. To be told before it does: the manager listens to
        nobody but the main process."""
        if not self._silent:
            self._notifier.send_surely(f"MAINPID={pid}", f"STATUS=upgraded, master {pid} serves")
        self._silent = True

    def take_back(self) -> None:
        """It was gone before it could be the service: we are, still."""
        self._silent = False
        self._line = ""
        self._notifier.send_surely(f"MAINPID={os.getpid()}")

    def speak(self) -> None:
        """We are the service from now on."""
        self._silent = False

    def close(self) -> None:
        self._notifier.close()
