"""What the kernel says of processes: children, titles, states, open descriptors; and their death."""

import os
import select
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.processes.patience import GUARD_SECONDS

LOOK_SECONDS = 0.01  # between two looks at /proc, which tells no one that it has changed


@dataclass(frozen=True)
class Process:
    """A process by its title: `prefork worker 0 g1`."""

    pid: int
    title: str
    state: str = field(compare=False)  # one letter, see proc(5)

    @property
    def role(self) -> str:
        return self.title.removeprefix("prefork ").partition(" ")[0]


class Death:
    """Watches a process from now on (pidfd_open(2))."""

    def __init__(self, pid: int) -> None:
        self._descriptor = os.pidfd_open(pid)
        self.pid = pid

    def wait(self, seconds: float = GUARD_SECONDS) -> None:
        """AssertionError when it lives longer."""
        gone, _, _ = select.select([self._descriptor], [], [], seconds)
        os.close(self._descriptor)
        assert gone, f"process {self.pid} is alive after {seconds} s"


def children(pid: int) -> list[Process]:
    """The direct children of a process, zombies too."""
    try:
        pids = [
            child
            for task in _names(pid, "task")
            for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split()
        ]
    except FileNotFoundError:
        return []
    return [found for child in pids if (found := look(int(child)))]


def look(pid: int) -> Process | None:
    """None when there is no such process."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        line = Path(f"/proc/{pid}/cmdline").read_bytes().strip(b"\0 ").replace(b"\0", b" ").decode()
        # A zombie has the short name only, and so has everybody without setproctitle, there without the first word.
        name = line if line.startswith("prefork ") else Path(f"/proc/{pid}/comm").read_text().strip()
        title = "prefork " + name.removeprefix("prefork ")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return Process(pid, title, state)


def descriptors(pid: int) -> list[str]:
    """What a process has open, sorted, and the same for each of a kind."""
    found = []
    for name in _names(pid, "fd"):
        try:
            what = os.readlink(f"/proc/{pid}/fd/{name}").partition(":[")[0]
            found.append(what.replace(f"/proc/{pid}/", "/proc/self/"))
        except FileNotFoundError:
            pass  # closed meanwhile
    return sorted(found)


def _names(pid: int, folder: str) -> list[str]:
    return os.listdir(f"/proc/{pid}/{folder}")


def wait_same(found: Callable[[], object], wanted: object, report: Callable[[], str]) -> None:
    """Look until it is what is wanted. AssertionError with the difference when it does not become that."""
    now: object = None
    for _ in range(int(GUARD_SECONDS / LOOK_SECONDS)):
        now = found()
        if now == wanted:
            return
        threading.Event().wait(LOOK_SECONDS)
    raise AssertionError(f"now: {now}\nwanted: {wanted}\n{report()}")
