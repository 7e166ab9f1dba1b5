"""A guard: a small process that kills process groups of ours when we are gone, however we went.

The groups stand in a table in shared memory, a memfd. The guard reads from a pipe whose writing end only we have: its
end tells that we are no more, also after SIGKILL. Then it kills what is in the table, and leaves. It has a session of
its own, so that a signal to our group or from our terminal does not reach it, and ignores those that ask for an end: a
service manager sends them to all that a service has started. One is started with the first group.

No number that has become somebody else's is killed. A number belongs to its group until the last member is gone, and
to its leader until that is reaped (setpgid(2)); so while it could be a stranger's, there is a process of that number
that started at another time than our leader. That time stands in the table too, and the guard looks (proc(5), stat).

A program is announced before it is started, by a pipe that is made for it: we may be killed when it runs already and we
do not know its number yet. The guard then looks who has that pipe as a standard stream. It comes too late for nobody:
as long as a child of vfork(2) has not become the program, it has our end of the guard's pipe too.

Not covered is who has left its group (setsid(2)), as daemons do, and a program whose three streams are all files.
"""

import os
import subprocess
import sys
from threading import Lock
from typing import Final

SHELL: Final = "/bin/sh"
ENTRY_BYTES: Final = 32  # up to 7 digits, a start time of up to 15, up to 7 more, and the end of the line

# Standard input is the pipe, standard output the table; `-` and an inode is a program that is starting. Only builtins,
# but for `ls`: nothing else has to be there. In /proc/pid/stat the start time is the 20th field behind the name, which
# may hold blanks and parentheses.
SHELL_PROGRAM: Final = """
trap '' HUP INT TERM
read -r nothing
while read -r group started unless; do
    [ "$group" ] || continue
    if [ "$group" = - ]; then
        ls -l /proc/[0-9]*/fd/[012] 2>/dev/null | while read -r line; do
            case $line in
            *" -> pipe:[$started]")
                group=${line##*/proc/}
                kill -9 -${group%%/*} ;;
            esac
        done
        continue
    fi
    if { read -r stat </proc/$group/stat; } 2>/dev/null; then
        set -- ${stat##*) }
        [ "${20}" = "$started" ] || continue
    fi
    if [ "$unless" ] && { read -r stat </proc/$unless/stat; } 2>/dev/null; then
        set -- ${stat##*) }
        case $1 in [ZX]) ;; *) continue ;; esac
    fi
    kill -9 -$group
done <&1
"""
PYTHON_PROGRAM: Final = """
import glob, os, signal
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
def kill(group):
    try:
        os.killpg(int(group), 9)
    except OSError:
        pass
os.read(0, 1)
for line in os.pread(1, 1 << 24, 0).decode().splitlines():
    if not line.split():
        continue
    group, started, *unless = line.split()
    if group == "-":
        for path in glob.glob("/proc/[0-9]*/fd/[012]"):
            try:
                if os.readlink(path) == f"pipe:[{started}]":
                    kill(path.split("/")[2])
            except OSError:
                pass
        continue
    try:
        with open(f"/proc/{group}/stat", "rb") as file:
            if file.read().rpartition(b")")[2].split()[19] != started.encode():
                continue
    except OSError:
        pass
    try:
        with open(f"/proc/{unless[0]}/stat", "rb") as file:
            if file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X"):
                continue
    except (IndexError, OSError):
        pass
    kill(group)
"""


class Guard:
    """Ours. Threads may share it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._free: list[int] = []  # places in the table
        self._end = 0  # of the table, in places
        self._table = -1
        self._pipe = -1
        self._pid = 0

    def announce(self, pipe: int | None) -> int:
        """A program is about to start that has this pipe, which we have open. Returns its place in the table. Raises
        OSError when there can be no guard."""
        entry = b"" if pipe is None else b"- %d" % os.fstat(pipe).st_ino
        with self._lock:
            if not self._lives():
                self._start()
            if self._free:
                place = self._free.pop()
            else:
                place, self._end = self._end, self._end + 1
            self._write(place, entry)
        return place

    def watch(self, place: int, group: int, unless: int | None) -> None:
        """It leads this process group, and is not reaped yet. It is left alone while process `unless` lives. Raises
        OSError when it is reaped."""
        entry = b"%d %d" % (group, start_time(group))
        if unless is not None:
            entry += b" %d" % unless
        with self._lock:
            self._write(place, entry)

    def forget(self, place: int) -> None:
        """It did not start, is no more, or is not ours to end."""
        with self._lock:
            self._write(place, b"")
            self._free.append(place)

    @property
    def pid(self) -> int | None:
        """That of the guard process; None before the first group."""
        return self._pid or None

    def let_go(self) -> None:
        """We were forked: this guard is our parent's."""
        for descriptor in (self._table, self._pipe):
            if descriptor >= 0:
                os.close(descriptor)

    def _write(self, place: int, entry: bytes) -> None:
        os.pwrite(self._table, entry.ljust(ENTRY_BYTES - 1) + b"\n", place * ENTRY_BYTES)

    def _lives(self) -> bool:
        """A job's end also ends what the job has started, and so a guard that it has needed."""
        if not self._pid:
            return False
        try:
            return os.waitpid(self._pid, os.WNOHANG)[0] == 0
        except ChildProcessError:
            return False

    def _start(self) -> None:
        if self._table < 0:
            self._table = os.memfd_create("prefork-guard", os.MFD_CLOEXEC)
        theirs, ours = os.pipe2(os.O_CLOEXEC)
        try:
            shell = os.access(SHELL, os.X_OK)
            program = ["-c", SHELL_PROGRAM] if shell else ["-ISc", PYTHON_PROGRAM]
            process = subprocess.Popen(
                ["prefork guard", *program],
                executable=SHELL if shell else sys.executable,
                stdin=theirs,
                stdout=self._table,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={"PATH": os.defpath},
                start_new_session=True,
            )
        except OSError:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        process.returncode = 0  # nobody waits for it: it outlives us, by a moment
        if self._pid:
            os.close(self._pipe)
        self._pid, self._pipe = process.pid, ours


def start_time(pid: int) -> int:
    """When a process has started, in the kernel's ticks since boot (proc(5), stat). Raises OSError."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[19])


_guard = Guard()


def announce(pipe: int | None) -> int:
    """Have a program that is about to start killed when we are gone. `pipe`: one that is made for it alone and that is
    one of its standard streams. Returns its place, for `watch` and `forget`. Raises OSError when that cannot be."""
    return _guard.announce(pipe)


def watch(place: int, leader: int, unless: int | None = None) -> None:
    """It has started, as the leader of a process group, which the guard leaves alone while process `unless` lives.
    Raises OSError when it is reaped already."""
    _guard.watch(place, leader, unless)


def forget(place: int) -> None:
    """It has not started, or is no more. To be said before its leader is reaped, and once."""
    _guard.forget(place)


def guard_pid() -> int | None:
    """That of this process's guard, if it has one."""
    return _guard.pid


def _begin_anew() -> None:
    global _guard
    _guard.let_go()
    _guard = Guard()


os.register_at_fork(after_in_child=_begin_anew)
