"""What a process does about itself: its title, its parent's death, its descriptors, its end."""

import atexit
import contextlib
import ctypes
import faulthandler
import fcntl
import os
import random
import resource
import select
import signal
import sys
import termios
import threading
from collections.abc import Iterable, Iterator
from typing import Final, NoReturn

from prefork.system import offspring, reach

try:
    import setproctitle
except ImportError:  # the extra `standard` is not installed; ps then shows the short name only
    setproctitle = None  # type: ignore[assignment]

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NAME: Final = 15
_PR_SET_CHILD_SUBREAPER: Final = 36

_KILL_ROUNDS: Final = 100  # each ends a generation of children; who forks faster than that is ended from outside

STACKS_SIGNAL: Final = signal.SIGRTMIN + 1  # dumps all Python stacks; apps rarely use the real-time signals

_libc = ctypes.CDLL(None, use_errno=True)
_ignoring = False  # CHILD_IGNORES, by SIG_IGN

CHILD_IGNORES: Final = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTSTP)
"""A terminal sends these to the whole group; what they mean to the server is the master's to tell."""


def set_title(title: str) -> None:
    """Show `title` in ps and top (the first 15 bytes of it where the extra `standard` is missing)."""
    _libc.prctl(_PR_SET_NAME, title.removeprefix("prefork ")[:15].encode(), 0, 0, 0)
    if setproctitle is not None:
        setproctitle.setproctitle(title)


def become_subreaper() -> None:
    """Adopt orphaned descendants (prctl(2), PR_SET_CHILD_SUBREAPER)."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def allow_dumps() -> None:
    """Belong to our own user again, after a change of it (prctl(2), PR_SET_DUMPABLE): else our files in /proc are
    root's, nobody may trace us, and there is no core dump."""
    _libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


def leave_terminal() -> None:
    """Have no controlling terminal any more (ioctl_tty(2), TIOCNOTTY): who has one can type into it, for the shell that
    has started us (TIOCSTI). Its signals reach us as before."""
    if os.getsid(0) == os.getpid():  # all of the session would lose it
        return
    with contextlib.suppress(OSError):  # there is none
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.ioctl(terminal, termios.TIOCNOTTY)
        finally:
            os.close(terminal)


def yield_to_workers() -> None:
    """Do not preempt a running process when we wake up (SCHED_BATCH, sched(7)).

    While cores are free nothing changes. When all are busy, connections gather until the worker that runs has had its
    turn and are handed out in one batch: measured, a third less CPU per connection.
    """
    with contextlib.suppress(OSError):  # a sandbox may forbid it
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def die_with_parent(parent: int) -> None:
    """Have the kernel kill us when process `parent` ends, even inside a C call (prctl(2), PR_SET_PDEATHSIG).

    A process that was forked twice calls this once its new parent has adopted it; see `wait_for_adoption`.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before we asked
        os._exit(1)


def wait_for_adoption(parent: int, between: int) -> None:
    """Wait until process `between`, which forked us, has ended, so that `parent`, a subreaper, has become our parent.
    If that is gone too, somebody else has, and we end."""
    try:
        descriptor = os.pidfd_open(between)
    except ProcessLookupError:
        pass  # it has ended, and is reaped
    else:
        try:
            ended = select.poll()
            ended.register(descriptor, select.POLLIN)
            ended.poll()
        finally:
            os.close(descriptor)
    if os.getppid() != parent:
        os._exit(1)


def close_descriptors_except(kept: Iterable[int]) -> None:
    """Close all but standard streams and `kept`."""
    low = 3
    for descriptor in sorted({number for number in kept if number >= 3}):
        os.closerange(low, descriptor)
        low = descriptor + 1
    os.closerange(low, 2**31 - 1)  # one close_range(2), whatever the limit


def fill_standard_streams() -> None:
    """Open /dev/null for standard streams that are closed: what is written there would reach a socket of ours."""
    while (null := os.open(os.devnull, os.O_RDWR)) < 3:
        os.set_inheritable(null, True)
    os.close(null)


def become_child() -> None:
    """What every forked child does first: it must not act on, or through, what belongs to its parent."""
    global _ignoring
    _ignoring = True
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))  # not the master's
    signal.set_wakeup_fd(-1)  # else our signals would wake the parent
    for number in signal.valid_signals():
        if number in CHILD_IGNORES:
            signal.signal(number, signal.SIG_IGN)
        elif signal.getsignal(number) not in (signal.SIG_DFL, signal.SIG_IGN, None):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def let_programs_heed_signals() -> None:
    """Ignore CHILD_IGNORES by a handler from now on: what we start would inherit SIG_IGN (execve(2)), and could not be
    interrupted. Only the main thread can do so."""
    global _ignoring
    if _ignoring and threading.current_thread() is threading.main_thread():
        _ignoring = False
        for number in CHILD_IGNORES:
            if signal.getsignal(number) is signal.SIG_IGN:
                signal.signal(number, _do_nothing)
                signal.siginterrupt(number, False)  # for native code that does not expect EINTR


def _do_nothing(number: int, frame: object) -> None:
    """A handler that has the signal ignored."""


def watch_stacks(descriptor: int) -> None:
    """Write the Python stacks of all threads to `descriptor` on STACKS_SIGNAL, and when the process crashes."""
    faulthandler.enable(descriptor)
    faulthandler.register(STACKS_SIGNAL, file=descriptor, all_threads=True, chain=False)


def watch_end(descriptor: int) -> None:
    """As `watch_stacks`, and before the signals that end an offloader do: SIGTERM, and SIGXCPU for too much CPU."""
    watch_stacks(descriptor)
    for number in (signal.SIGTERM, signal.SIGXCPU):
        faulthandler.register(number, file=descriptor, all_threads=True, chain=True)


def lead_group() -> None:
    """Become the leader of a process group of our own (setpgid(2)), unless the one who forked us has seen to it."""
    if os.getpgid(0) != os.getpid():
        os.setpgid(0, 0)


def reseed() -> None:
    """Give this process random numbers of its own, also from NumPy's global generator, if that is there: NumPy imports
    it when it is first used, which would cost each fork 20 ms here."""
    random.seed()
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


def limit_descriptors(most: int) -> None:
    """Set the soft limit on open descriptors, and the hard one too if it is lower, which only root may raise. Raises
    OSError, ValueError."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = hard == resource.RLIM_INFINITY or hard >= most
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard if enough else most))


def limit_memory(most: int) -> None:
    """Set the soft limit on address space, below the hard one (RLIMIT_AS): a failed allocation is a MemoryError."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def raise_descriptor_limit() -> int:
    """Raise the soft limit on open descriptors to the hard one. Returns it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else 1 << 20
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft if soft != resource.RLIM_INFINITY else wanted
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        return soft
    return wanted


def leave(code: int) -> NoReturn:
    """End a forked child: what the app registered with atexit runs, what its parents' frames would do does not."""
    with contextlib.suppress(Exception):
        atexit._run_exitfuncs()
    for stream in filter(None, (sys.stdout, sys.stderr)):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def is_stopped(pid: int | None) -> bool:
    """Whether a process is stopped by a signal (state T, proc(5))."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False


def exit_words(status: int) -> str:
    """A wait status in words: `exit status 3` or `signal SIGKILL`."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            return f"signal {signal.Signals(number).name}"
        except ValueError:
            return f"signal {number}"
    return f"exit status {os.waitstatus_to_exitcode(status)}"


def reap() -> Iterator[tuple[int, int]]:
    """Each child that has ended, and its status (waitpid(2)); as PID 1 also children that were never ours."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, status


def send_signal(pid: int | None, number: int) -> None:
    """To a child that is not reaped yet, so the pid is still its own; None is one that is not forked."""
    if pid is not None and reach.includes(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def end_group(leader: int, number: int) -> bool:
    """Send a signal to a process group (kill(2)); 0 only looks. False when it has no members (any more)."""
    if not reach.includes(leader):
        return False
    try:
        os.killpg(leader, number)
    except ProcessLookupError:
        return False
    return True


def has_children() -> bool:
    """Whether this process has children, zombies among them. One system call."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def children() -> set[int]:
    """The pids of our children, zombies among them."""
    return offspring.children(os.getpid())


def kill_children(spare: Iterable[int] = ()) -> None:
    """Kill our children and what they leave to us, a subreaper, until none but `spare` is left."""
    spared = set(spare)
    for _ in range(_KILL_ROUNDS):
        victims = children() - spared
        if not victims:
            return
        for victim in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
        for victim in victims:
            with contextlib.suppress(ChildProcessError):  # reaped by code of the job
                os.waitpid(victim, 0)


def resident_bytes() -> int:
    """Memory this process holds (proc(5), statm)."""
    return _statm(1)


def address_space_bytes() -> int:
    """Address space this process has mapped (proc(5), statm): what RLIMIT_AS limits."""
    return _statm(0)


def _statm(field: int) -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[field]) * resource.getpagesize()
