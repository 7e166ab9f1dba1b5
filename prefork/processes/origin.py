"""How this server was started: command, folder, environment. An upgrade starts it once more in the same way."""

import os
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

HEAD_BYTES: Final = 4096  # of a script: its first lines, which name its interpreter
NOT_FOUND: Final = 127  # what a shell reports for a program that cannot be run

# Meant for one process, by its pid, or for one start.
_NOT_AGAIN: Final = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDNAMES", "WATCHDOG_PID")


@dataclass(frozen=True, slots=True)
class Origin:
    """What there was at the start."""

    program: str  # path
    arguments: Sequence[str]  # the first one is the program's name
    folder: str
    environment: Mapping[str, str]
    umask: int = 0o022

    @classmethod
    def of_this_process(cls, environment: Mapping[str, str]) -> "Origin":
        """To be asked before anything changes folder or environment."""
        program, arguments = again(sys.orig_argv, sys.executable)
        kept = {name: value for name, value in environment.items() if name not in _NOT_AGAIN}
        umask = os.umask(0o077)  # it cannot be asked for without being set
        os.umask(umask)
        return cls(program, arguments, start_folder(environment), kept, umask)

    def become(self, more: Mapping[str, str], mask: Iterable[int]) -> NoReturn:
        """Replace this process, a fresh child of the master, by the command, with `more` in its environment and those
        signals blocked. Descriptors that are inheritable stay open. Raises OSError."""
        os.chdir(self.folder)
        os.umask(self.umask)
        for number in signal.valid_signals():
            if signal.getsignal(number) not in (signal.SIG_DFL, signal.SIG_IGN, None):
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.execve(self.program, list(self.arguments), {**self.environment, **more})


def again(arguments: Sequence[str], interpreter: str) -> tuple[str, list[str]]:
    """The program and the arguments that do once more what `arguments` of the interpreter at that path did.

    A script that was run by its first line (`/srv/current/bin/prefork`) is run by itself: after an upgrade that line
    may name another interpreter.
    """
    if len(arguments) > 1 and os.access(arguments[1], os.X_OK) and os.path.isfile(arguments[1]):
        try:
            with open(arguments[1], "rb") as file:
                lines = file.read(HEAD_BYTES).split(b"\n")[:2]  # pip writes two when the path is long
        except OSError:
            lines = []
        words = b" ".join(lines).removeprefix(b"#!").split()
        if lines and lines[0].startswith(b"#!") and os.fsencode(arguments[0]) in (word.strip(b"\"'") for word in words):
            return arguments[1], list(arguments[1:])
    return interpreter, [interpreter, *arguments[1:]]


def start_folder(environment: Mapping[str, str]) -> str:
    """The folder we were started in, by the name it was entered with: a link `current` may lead to a new release by the
    time it is asked for again."""
    here = os.getcwd()
    named = environment.get("PWD", "")
    try:
        if os.path.isabs(named) and os.path.samefile(named, here):
            return named
    except OSError:
        pass
    return here
