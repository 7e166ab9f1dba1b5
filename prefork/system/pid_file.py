"""The file that tells the master's pid. It is locked while its server lives, so that a stale one is known for sure."""

import contextlib
import fcntl
import os
import struct
from typing import Final

from prefork.errors import UsageError

_MODE: Final = 0o644
_PID_BYTES: Final = 32  # more than any pid has, and a line end
_FLOCK: Final = "hhqqi4x"  # struct flock (fcntl(2)) where off_t has 64 bits: type, whence, start, length, pid


class PidFile:
    """A pid file from before the server binds until it ends.

    The lock is one of fcntl(2), which belongs to the process: children do not inherit it, it ends with its owner
    however that dies, and the kernel tells whose it is. A file is replaced as a whole, by rename(2).
    """

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)  # whatever folder the process changes to
        self._descriptor: int | None = None

    def check(self, taking_over_from: int | None = None) -> None:
        """Whether it may be written. Raises UsageError: another server has it, or something else is there.

        `taking_over_from`: the pid of the master whose place this one is to take.
        """
        if self.ours:
            return
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._unusable("cannot read", error) from None
        try:
            holder = _holder(descriptor)
            if holder is not None and holder != taking_over_from:
                who = f"the server with pid {holder}" if holder > 0 else "a server"  # 0: in another pid namespace
                raise UsageError(f"pid_file: {self.path}: {who} is running and has this file")
            content = os.read(descriptor, _PID_BYTES + 1)
        except OSError as error:
            raise self._unusable("cannot read", error) from None
        finally:
            os.close(descriptor)
        if len(content) > _PID_BYTES or not (content.strip() or b"0").isdigit():
            raise UsageError(f"pid_file: {self.path}: there is a file of that name that holds no pid")

    def write(self) -> None:
        """Put our pid there, whoever's was. Raises UsageError. May be called again: to take the file back."""
        beside = f"{self.path}.{os.getpid()}"
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(beside)
            descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.write(descriptor, b"%d\n" % os.getpid())
                os.rename(beside, self.path)
            except BaseException:
                os.close(descriptor)
                with contextlib.suppress(OSError):
                    os.unlink(beside)
                raise
        except OSError as error:
            raise self._unusable("cannot write", error) from None
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = descriptor

    @property
    def ours(self) -> bool:
        """Whether the file is the one that we wrote."""
        if self._descriptor is None:
            return False
        try:
            found, mine = os.stat(self.path), os.fstat(self._descriptor)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == (mine.st_dev, mine.st_ino)

    def remove(self) -> None:
        """Remove it, if it is ours."""
        if self.ours:
            with contextlib.suppress(OSError):
                os.unlink(self.path)
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _unusable(self, what: str, error: OSError) -> UsageError:
        return UsageError(f"pid_file: {what} {self.path}: {(error.strerror or str(error)).lower()}")


def _holder(descriptor: int) -> int | None:
    """The pid of the process that has the lock, as far as it is not us."""
    asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
    return None if kind == fcntl.F_UNLCK else int(pid)
