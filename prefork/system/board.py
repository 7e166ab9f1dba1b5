"""One actor process's board in shared memory: since when its call has been running, and how many calls each seat holds.

A seat is one event loop that is connected to it. Each word has a single writer: the process the first three, and each
seat its own. So there are no locks, and what a killed process wrote last is still there.
"""

import mmap
import os
import struct
from typing import Final

SEATS: Final = 4096  # more than there are workers (1024), and those that are replaced
_BEGAN, _TURNS, _USED, _FIRST = range(4)  # words of 8 bytes
_FLOAT: Final = struct.Struct("d")
_BYTES: Final = (_FIRST + SEATS) * 8  # pages that nobody has written cost nothing


def create() -> int:
    """A descriptor of fresh memory (memfd_create(2))."""
    descriptor = os.memfd_create("prefork-board", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, _BYTES)
    return descriptor


def began(descriptor: int) -> float:
    """`Board.began`, for one who asks rarely."""
    return _FLOAT.unpack(os.pread(descriptor, _FLOAT.size, 0))[0]  # type: ignore[no-any-return]


class Board:
    """A view of it, for all sides."""

    def __init__(self, descriptor: int) -> None:
        """The descriptor stays the caller's."""
        self._memory = mmap.mmap(descriptor, _BYTES)
        self._floats = memoryview(self._memory).cast("d")
        self._counts = memoryview(self._memory).cast("Q")

    # -- what the process writes

    def begin(self, now: float) -> None:
        """A call has been read (`now` in monotonic seconds)."""
        self._floats[_BEGAN] = now
        self._counts[_TURNS] += 1

    def end(self) -> None:
        """It was answered."""
        self._floats[_BEGAN] = 0.0

    def take_seat(self, seat: int) -> None:
        """Somebody was connected."""
        self._counts[_USED] = max(self._counts[_USED], seat + 1)

    def leave_seat(self, seat: int) -> None:
        """And is gone."""
        self._counts[_FIRST + seat] = 0

    # -- what a seat writes

    def hold(self, seat: int, calls: int) -> None:
        """So many calls were given from there and not answered."""
        self._counts[_FIRST + seat] = calls

    # -- what all read

    @property
    def began(self) -> float:
        """When the call that runs was begun, in monotonic seconds; 0: none runs."""
        return self._floats[_BEGAN]

    @property
    def turns(self) -> int:
        """How many calls were begun."""
        return self._counts[_TURNS]

    @property
    def load(self) -> int:
        """The calls of all seats."""
        return sum(self._counts[_FIRST : _FIRST + self._counts[_USED]])

    def close(self) -> None:
        self._floats.release()
        self._counts.release()
        self._memory.close()
