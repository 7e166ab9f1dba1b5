"""Files and sockets that root makes for the user who is to have them, without going where that user could lead it.

Who may write in a folder may put a symbolic or hard link there. So root touches a file in such a folder only with that
user's rights; with its own it makes files only where nobody else can put anything.
"""

import os
import stat
from collections.abc import Iterable
from typing import Final

from prefork.errors import UsageError
from prefork.system.identity import ROOT, Identity, acting_as
from prefork.system.listeners import Listener

_APPEND: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_LOG_MODE: Final = 0o644
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


def make_log_files(identity: Identity, paths: Iterable[str]) -> None:
    """See that the user can append to each of these files (`-` is none). Raises UsageError."""
    for path in paths:
        if path != "-":
            _make(identity, path)


def give_sockets(identity: Identity, listeners: Iterable[Listener]) -> None:
    """Make the user the owner of the socket files that we have made. Whoever may connect has to have write permission:
    the umask decides about others. Raises UsageError."""
    for listener in listeners:
        if listener.file is not None:
            path = listener.name.removeprefix("unix:")
            try:
                _give_socket(identity, path, listener.file[:2])
            except OSError as error:
                words = (error.strerror or str(error)).lower()
                raise UsageError(f"cannot give the socket {path} to user {identity}: {words}") from None


def _give_socket(identity: Identity, path: str, inode: tuple[int, int]) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if (found.st_dev, found.st_ino) == inode:  # nobody has put something else there
            os.chown(f"/proc/self/fd/{descriptor}", identity.uid, identity.gid)
    finally:
        os.close(descriptor)


def _make(identity: Identity, path: str) -> None:
    try:
        with acting_as(identity):
            os.close(os.open(path, _APPEND, _LOG_MODE))
        return
    except PermissionError:
        pass
    except OSError as error:
        if os.path.exists(path):  # a FIFO that nobody reads: who opens it for good will tell
            return
        raise UsageError(f"cannot write the log file {path}: {(error.strerror or str(error)).lower()}") from None
    folder = os.path.dirname(os.path.abspath(path))
    if os.path.lexists(path):
        raise UsageError(f"user {identity} may not write the log file {path}: give it to that user (chown), or move it")
    if not _only_root_writes(folder):
        raise UsageError(f"user {identity} may not make the log file {path}: make it for that user, or move it")
    try:
        descriptor = os.open(path, _APPEND | os.O_EXCL | os.O_NOFOLLOW, _LOG_MODE)
        try:
            os.fchown(descriptor, identity.uid, identity.gid)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UsageError(f"cannot make the log file {path}: {(error.strerror or str(error)).lower()}") from None


def _only_root_writes(folder: str) -> bool:
    """Whether root alone can put something into a folder and into those that lead to it; from a sticky one such as
    /tmp nobody else can take away what is root's."""
    at = os.path.realpath(folder)
    inner = True
    while True:
        found = os.stat(at)
        sticky = bool(found.st_mode & stat.S_ISVTX) and not inner
        if found.st_uid != ROOT or (found.st_mode & _OTHERS_WRITE and not sticky):
            return False
        if at == "/":
            return True
        at, inner = os.path.dirname(at), False
