"""Locks on single bytes of a file that the kernel lets go of when their holder dies (fcntl(2), open file description
locks).

Such a lock belongs to an open file description. A descriptor that was inherited or sent shares its sender's, and would
not exclude it, so every process opens one of its own.
"""

import fcntl
import os
import struct
import threading
import weakref
from typing import Any, Final

_FLOCK: Final = struct.Struct("hhqqi4x")  # struct flock: type, whence, start, length, pid


class RecordLocks:
    """Those on one file that this process holds, or wants to. Among its threads they exclude nobody: the one who takes
    a byte sees to that."""

    def __init__(self, descriptor: int) -> None:
        """`descriptor` stays the caller's, and open."""
        self._descriptor = descriptor
        self._own: int | None = None  # the description's
        self._closed = False
        self._begin()
        _everywhere.add(self)

    def try_lock(self, byte: int) -> bool:
        """Lock a byte, if nobody else holds it. Raises OSError, ValueError once we are closed."""
        try:
            fcntl.fcntl(self._description(), fcntl.F_OFD_SETLK, _words(fcntl.F_WRLCK, byte))
        except BlockingIOError:
            return False
        except OSError:
            self._check_open()
            raise
        return True

    def lock(self, byte: int) -> None:
        """Lock a byte; wait for whoever holds it, without the GIL. Raises OSError, ValueError once we are closed."""
        try:
            fcntl.fcntl(self._description(), fcntl.F_OFD_SETLKW, _words(fcntl.F_WRLCK, byte))
        except OSError:
            self._check_open()
            raise
        self._check_open()  # if we were closed while we waited, the kernel has let go of it already

    def unlock(self, byte: int) -> None:
        """Let go of a byte; nothing if it is not locked."""
        if self._own is not None:
            fcntl.fcntl(self._own, fcntl.F_OFD_SETLK, _words(fcntl.F_UNLCK, byte))

    def close(self) -> None:
        """Let go of them all. Nothing can be locked any more: our file's descriptor may soon be that of another."""
        with self.mutex, self._opening:
            self._closed = True
            own, self._own = self._own, None
        if own is not None:
            os.close(own)

    def __del__(self) -> None:
        self.close()

    def _begin(self) -> None:
        self._opening = threading.Lock()
        self.mutex = threading.Lock()  # for whoever locks for no longer than a few instructions
        self.of_byte: dict[int, Any] = {}  # what this process knows of who wants a byte

    def forget(self) -> None:
        """In a child that was forked: what is locked is our parent's, and so is what was known of it."""
        inherited, self._own = self._own, None
        self._begin()
        if inherited is not None:
            os.close(inherited)  # else its lock would outlive our parent with us

    def _description(self) -> int:
        own = self._own
        if own is None:
            with self._opening:
                self._check_open()
                own = self._own if self._own is not None else self._open()
                self._own = own
        return own

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("this SharedBuffer is closed")

    def _open(self) -> int:
        return os.open(f"/proc/self/fd/{self._descriptor}", os.O_RDWR | os.O_CLOEXEC)


def _words(kind: int, byte: int) -> bytes:
    return _FLOCK.pack(kind, os.SEEK_SET, byte, 1, 0)


_everywhere: Final[weakref.WeakSet[RecordLocks]] = weakref.WeakSet()


def _forget_all() -> None:
    for locks in list(_everywhere):
        locks.forget()


os.register_at_fork(after_in_child=_forget_all)
