"""A file opened for reading: a descriptor that is closed with its last reference, what it is, and its bytes."""

import errno
import os
import stat
import time
from collections.abc import Callable
from typing import BinaryIO, Final

RECENT_FILES: Final = 1024
RECENT_SECONDS: Final = 10.0  # what was read so lately is in memory still, unless memory is so short that nothing helps

# No RWF_NOWAIT there: overlayfs, tmpfs, network file systems (preadv2(2)).
_CANNOT_TELL: Final = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)

_recent: dict[tuple[int, int], float] = {}  # device and inode of files that were read, the latest last


class OpenFile:
    """Size in bytes, and modification time, as they were when it was opened."""

    __slots__ = ("descriptor", "modified", "modified_ns", "size", "stat")

    def __init__(self, descriptor: int) -> None:
        """Takes the descriptor over."""
        self.descriptor = descriptor
        self.stat = os.fstat(descriptor)
        self.size = self.stat.st_size
        self.modified_ns = self.stat.st_mtime_ns
        self.modified = self.modified_ns // 1_000_000_000  # Unix time, as HTTP dates tell it

    def __del__(self) -> None:
        self.close()

    @property
    def is_regular(self) -> bool:
        return stat.S_ISREG(self.stat.st_mode)

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.stat.st_mode)

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def raw(self) -> BinaryIO:
        """The file as a Python file, which does not close it."""
        return open(self.descriptor, "rb", buffering=0, closefd=False)

    def read(self, offset: int, count: int, *, wait: bool, clock: Callable[[], float] = time.monotonic) -> bytes:
        """The bytes of a part of the file.

        Raises BlockingIOError if not `wait` and they may not be in memory; EOFError if the file has become shorter.
        """
        if not wait:
            data = self._read_from_memory(offset, count)
            if data is not None:
                return data
            if clock() - _recent.get(self._identity, -RECENT_SECONDS) >= RECENT_SECONDS:
                raise BlockingIOError(errno.EAGAIN, "the file may have to come from the disk")
        _remember(self._identity, clock())
        data = os.pread(self.descriptor, count, offset)
        if len(data) < count:
            raise EOFError(f"the file ended {count - len(data)} bytes early")
        return data

    def _read_from_memory(self, offset: int, count: int) -> bytes | None:
        """None if the file system cannot tell what is in memory."""
        buffer = bytearray(count)
        try:
            if os.preadv(self.descriptor, [buffer], offset, os.RWF_NOWAIT) == count:
                return bytes(buffer)
        except OSError as error:
            if error.errno in _CANNOT_TELL:
                return None
            raise
        raise BlockingIOError(errno.EAGAIN, "some of the file is not in memory")

    @property
    def _identity(self) -> tuple[int, int]:
        return self.stat.st_dev, self.stat.st_ino


def _remember(identity: tuple[int, int], now: float) -> None:
    _recent.pop(identity, None)
    _recent[identity] = now
    while len(_recent) > RECENT_FILES:
        try:
            del _recent[next(iter(_recent))]
        except (KeyError, RuntimeError, StopIteration):  # another thread was at it too
            return
