"""Start a program, or say by name what is in its way: the program, the folder, a permission, a user, a limit."""

import errno
import grp
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from prefork.children.programs.limits import Limits
from prefork.errors import ChildNotStarted
from prefork.system import guard, process

Argument = str | bytes | os.PathLike[str]

SHELL: Final = "/bin/sh"

# What has a niceness or limits begins as a shell that waits for a line on standard input, which is always a pipe of
# ours then. `read` takes no more than that line, so the rest is the program's. It costs half a millisecond. The other
# ways are worse: code between fork and exec (preexec_fn) needs a whole fork() of this process, whose other threads may
# hold locks for ever in the child; and set after exec, a limit comes too late for what the program has forked by then.
GATE: Final = (SHELL, "-c", 'read -r _ && exec "$@"', "sh")

_NO_ROOM: Final = {
    errno.EAGAIN: "no more processes may be started (RLIMIT_NPROC, or the cgroup's pids.max)",
    errno.ENOMEM: "there is no memory left for it",
    errno.EMFILE: "this process has no descriptor left (RLIMIT_NOFILE)",
    errno.ENFILE: "the machine has no descriptor left",
    errno.E2BIG: "its arguments and environment are larger than the kernel takes (execve(2)); give it an input instead",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a program finds when it starts. None: as ours."""

    cwd: str | os.PathLike[str] | None = None
    env: Mapping[str, str] | None = None
    user: str | int | None = None
    group: str | int | None = None
    nice: int | None = None
    limits: Limits | None = None

    @property
    def gated(self) -> bool:
        """Whether something is done to the process before it becomes the program."""
        return self.nice is not None or self.limits is not None


@dataclass(frozen=True, slots=True)
class Streams:
    """The descriptors a program gets; `gate`, if it is gated, is our end of its standard input; `pipe` is one of its
    streams that is a pipe, made for it."""

    stdin: int
    stdout: int
    stderr: int
    gate: int | None
    pipe: int | None


def start(
    argv: Sequence[Argument], surroundings: Surroundings, streams: Streams
) -> tuple[subprocess.Popen[bytes], int]:
    """Start a program as the leader of a process group that does not outlive us. Returns it, and its place in the
    guard's table. Raises ChildNotStarted.

    It is vfork(2) in the event loop's thread, some tenths of a millisecond however large we are; with a `user` it is
    fork(2).
    """
    identity = _identity(surroundings)
    process.let_programs_heed_signals()
    command: Sequence[Argument] = argv
    place: int | None = None
    if surroundings.gated:
        if missing := _missing(argv, surroundings):  # the shell could only end with 127
            raise ChildNotStarted(missing)
        command = [*GATE, *argv]
    try:
        place = guard.announce(streams.pipe)
        started = subprocess.Popen(
            command,
            stdin=streams.stdin,
            stdout=streams.stdout,
            stderr=streams.stderr,
            cwd=surroundings.cwd,
            env=surroundings.env,
            process_group=0,
            **identity,
        )
    except BaseException as error:
        if place is not None:
            guard.forget(place)
        if not isinstance(error, OSError):
            raise
        reason = _missing(argv, surroundings) or f"{_name(argv)}: {_why(error, surroundings)}"
        raise ChildNotStarted(reason) from None
    try:
        guard.watch(place, started.pid)
        if streams.gate is not None:
            _prepare(started.pid, surroundings)
            os.write(streams.gate, b"\n")
    except BaseException as error:
        process.end_group(started.pid, signal.SIGKILL)
        guard.forget(place)
        started.wait()
        if isinstance(error, OSError | ValueError):
            raise ChildNotStarted(f"{_name(argv)}: {error}") from None
        raise
    return started, place


def _identity(surroundings: Surroundings) -> dict[str, Any]:
    """The arguments of Popen for another user or group. With a user come its groups, not ours. Raises
    ChildNotStarted."""
    user, group = surroundings.user, surroundings.group
    found: dict[str, Any] = {}
    if group is not None:
        try:
            found["group"] = grp.getgrnam(group).gr_gid if isinstance(group, str) else group
        except KeyError:
            raise ChildNotStarted(f"there is no group {group!r} on this machine") from None
    if user is None:
        return found
    try:
        entry = pwd.getpwnam(user) if isinstance(user, str) else pwd.getpwuid(user)
    except KeyError:
        if isinstance(user, str):
            raise ChildNotStarted(f"there is no user {user!r} on this machine") from None
        return {"user": user, "group": user, "extra_groups": [], **found}
    main = found.setdefault("group", entry.pw_gid)
    return {**found, "user": entry.pw_uid, "extra_groups": os.getgrouplist(entry.pw_name, main)}


def _prepare(pid: int, surroundings: Surroundings) -> None:
    """Raises OSError or ValueError that says what cannot be."""
    if surroundings.nice is not None:
        try:
            os.setpriority(os.PRIO_PROCESS, pid, surroundings.nice)
        except PermissionError:
            raise PermissionError(f"nice={surroundings.nice} is below ours, which needs CAP_SYS_NICE") from None
    if surroundings.limits is not None:
        surroundings.limits.put_on(pid)


def _missing(argv: Sequence[Argument], surroundings: Surroundings) -> str | None:
    """Why the folder or the program is not there, or not ours to use; None when both are."""
    folder = surroundings.cwd
    if folder is not None and not os.path.isdir(folder):
        missing = "is not a folder" if os.path.exists(folder) else "does not exist"
        return f"{_name(argv)}: its folder {os.fspath(folder)!r} {missing}"
    if folder is not None and not os.access(folder, os.X_OK):
        return f"{_name(argv)}: its folder {os.fspath(folder)!r} is not ours to enter (mode x)"
    program = os.fsdecode(argv[0])
    if os.sep not in program:
        path = os.pathsep.join(os.get_exec_path(surroundings.env))
        found = shutil.which(program, path=path)
        return None if found else f"there is no program {program!r} in PATH ({path})"
    program = os.path.join(os.fspath(folder or ""), program)
    if not os.path.exists(program):
        return f"there is no program {program!r}"
    if os.path.isdir(program) or not os.access(program, os.X_OK):
        return f"{program!r} is not a program, or not ours to run (mode x)"
    return None


def _why(error: OSError, surroundings: Surroundings) -> str:
    """Why a program that is there cannot be started."""
    if error.errno in _NO_ROOM:
        return _NO_ROOM[error.errno]
    if error.errno == errno.EPERM and (surroundings.user is not None or surroundings.group is not None):
        return "to run it as another user or group, this server needs to be root (CAP_SETUID, CAP_SETGID)"
    if error.errno == errno.ENOENT:
        return "the interpreter that its first line names does not exist"
    if error.errno == errno.ENOEXEC:
        return "it is neither a program for this machine nor a script with #! in its first line"
    return error.strerror or str(error)


def _name(argv: Sequence[Argument]) -> str:
    return os.fsdecode(argv[0])
