"""Start a server on cores of its own, wait until it can be reached, and end all of it."""

import ctypes
import os
import select
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

from benchmarks.tree import cpu_ns, process_tree

START_SECONDS = 30.0
STOP_SECONDS = 5.0  # after SIGTERM, then SIGKILL
KILL_ROUNDS = 3  # what is forked while the first is carried out falls to the next
POLL_SECONDS = 0.01
IDLE_WINDOW_SECONDS = 0.5
IDLE_SHARE = 0.05  # of one core; below it nothing is imported any more
IDLE_SECONDS = 60.0
PR_SET_CHILD_SUBREAPER = 36  # prctl(2)


class StartError(Exception):
    """A server did not come up; the text ends with what it printed last."""


@dataclass(frozen=True)
class Running:
    """A server that accepts connections: the root of its tree, and its port on 127.0.0.1."""

    pid: int
    port: int


def prepare() -> None:
    """Make sure that nothing started from here is left behind.

    Processes that lose their parent become ours, so that `end_all` finds them, and SIGTERM ends this program as
    Ctrl-C does: through its `finally` blocks.
    """
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, interrupt)


def interrupt(number: int, frame: FrameType | None) -> None:
    """SIGTERM as an exception."""
    raise KeyboardInterrupt


def pinned(core: int) -> Callable[[], None]:
    """What a child runs before exec to stay on one core."""
    return lambda: os.sched_setaffinity(0, {core})


def cores() -> tuple[int, int]:
    """One core for the server, one for the load. They are the same where the machine allows only one."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[-1]


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(
    command: Sequence[str],
    port: int,
    folder: Path,
    environment: Mapping[str, str],
    pin: Callable[[], None] | None = None,
) -> Iterator[Running]:
    """Start a server, wait until its port accepts, and end its whole tree when the block is left.

    StartError if it ends, does not accept within START_SECONDS, or drops a connection that the block lets fail.
    """
    with tempfile.TemporaryFile() as log:
        try:
            process = subprocess.Popen(
                list(command),
                cwd=folder,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches this program alone, which then ends the server
                preexec_fn=pin,
            )
        except OSError as error:
            raise StartError(f"{command[0]}: {error.strerror}") from error
        try:
            wait_accepting(process, port, log)
            yield Running(process.pid, port)
        except ConnectionError as error:  # a server that could not load its app says so in its log alone
            raise StartError(f"{error.strerror or error}; it printed last: {last_line(log)}") from error
        finally:
            end_all(process)


def wait_accepting(process: "subprocess.Popen[bytes]", port: int, log: IO[bytes]) -> None:
    """Return once the port accepts a connection. StartError otherwise."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise StartError(f"ended with {process.returncode} before it served: {last_line(log)}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(POLL_SECONDS)
    raise StartError(f"did not accept within {START_SECONDS:.0f} s: {last_line(log)}")


def last_line(log: IO[bytes]) -> str:
    """The last line of what a server printed."""
    log.seek(0)
    lines = log.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")


def end_all(process: "subprocess.Popen[bytes]") -> None:
    """End everything that descends from this program: SIGTERM to the server's root, SIGKILL to what does not follow."""
    process.terminate()
    wait_ended(descendants())
    for _ in range(KILL_ROUNDS):
        reap()
        if not (fds := descendants()):
            return
        for fd in fds:
            try:
                signal.pidfd_send_signal(fd, signal.SIGKILL)
            except ProcessLookupError:
                pass
        wait_ended(fds)


def descendants() -> list[int]:
    """A pidfd for every process below this one: unlike a pid it can never mean a stranger."""
    return [fd for pid in process_tree(os.getpid())[1:] if (fd := open_pidfd(pid)) is not None]


def open_pidfd(pid: int) -> int | None:
    """The pidfd of a process, None if it is gone."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def wait_ended(fds: list[int]) -> None:
    """Wait until every process has ended, at most STOP_SECONDS, and close the pidfds."""
    deadline = time.monotonic() + STOP_SECONDS
    waiting = set(fds)
    poller = select.poll()
    for fd in waiting:
        poller.register(fd, select.POLLIN)
    while waiting and (left := deadline - time.monotonic()) > 0:
        for fd, _ in poller.poll(left * 1000):
            poller.unregister(fd)
            waiting.discard(fd)
    for fd in fds:
        os.close(fd)


def reap() -> None:
    """Collect what has ended below this program, adopted processes too."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def wait_idle(pid: int) -> None:
    """Return once a tree has done next to nothing for two windows in a row: every worker has imported its app.

    StartError if it is still busy after IDLE_SECONDS.
    """
    deadline = time.monotonic() + IDLE_SECONDS
    quiet = 0
    while quiet < 2:
        if time.monotonic() > deadline:
            raise StartError(f"still busy after {IDLE_SECONDS:.0f} s")
        before = cpu_ns(pid)
        time.sleep(IDLE_WINDOW_SECONDS)
        used = (cpu_ns(pid) - before) / 1e9
        quiet = quiet + 1 if used < IDLE_SHARE * IDLE_WINDOW_SECONDS else 0
