"""The latest records of one process in shared memory, for itself and for whoever comes after it."""

import os
import struct
from collections.abc import Iterator
from typing import Final

from prefork.system import memory

_HEAD: Final = struct.Struct("QQ")  # where the oldest record begins, and where the next one will
_LENGTH: Final = struct.Struct("I")  # before each record


def create(size: int) -> int:
    """A descriptor of memory for so many bytes of records; what is not written costs nothing. Raises OSError."""
    return memory.create("prefork-ring", _HEAD.size + size)


class Ring:
    """Records, the oldest of which make room for the next.

    Both places only grow; where they point to is their remainder by the size. A writer that is killed leaves whole
    records: what a new one is written over is given up before, and the new one counts when it is there.
    """

    def __init__(self, descriptor: int) -> None:
        """The descriptor stays the caller's."""
        self._size = os.fstat(descriptor).st_size - _HEAD.size
        whole = memoryview(memory.map_whole(descriptor, _HEAD.size + self._size))
        self._head = whole[: _HEAD.size].cast("Q")
        self._bytes = whole[_HEAD.size :]

    def append(self, record: bytes) -> bool:
        """Add a record. False when it is larger than all of the ring."""
        needed = _LENGTH.size + len(record)
        if needed > self._size:
            return False
        first, end = self._head[0], self._head[1]
        while end + needed - first > self._size:
            first += _LENGTH.size + self._length(first)
        self._head[0] = first
        self._write(end, _LENGTH.pack(len(record)) + record)
        self._head[1] = end + needed
        return True

    def __iter__(self) -> Iterator[bytes]:
        """The records, the oldest first."""
        place, end = self._head[0], self._head[1]
        while place < end:
            length = self._length(place)
            yield self._read(place + _LENGTH.size, length)
            place += _LENGTH.size + length

    def _length(self, place: int) -> int:
        found: int = _LENGTH.unpack(self._read(place, _LENGTH.size))[0]
        return found

    def _read(self, place: int, count: int) -> bytes:
        start = place % self._size
        piece = bytes(self._bytes[start : start + count])
        return piece + bytes(self._bytes[: count - len(piece)])

    def _write(self, place: int, data: bytes) -> None:
        start = place % self._size
        until_wrap = min(len(data), self._size - start)
        self._bytes[start : start + until_wrap] = data[:until_wrap]
        self._bytes[: len(data) - until_wrap] = data[until_wrap:]
