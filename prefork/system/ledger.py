"""The ledger: shared memory in which every process of a server counts, a place for each, read by whoever wants to know.

A place holds rows, each a key and some numbers. Its process alone appends rows and writes numbers, the master alone
writes who that process is. So there are no locks, and what a killed process wrote last is still there: the next one in
its place goes on counting from there.
"""

import mmap
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from prefork.system.memory import map_whole

PLACES: Final = 4096  # more than there will be processes at a time; what nobody writes costs nothing
PLACE_BYTES: Final = 512 * 1024  # two to four thousand rows
HEADER_BYTES: Final = 128  # two cache lines: the process's words, then the master's
WORD: Final = 8

_END: Final = 0  # words of the header: where the next row goes, in bytes
_PID, _ROLE, _SLOT, _GENERATION = range(8, 12)
_ROW: Final = struct.Struct("IHBx")  # bytes of the row, bytes of its key, kind; at the start of each row

ROLES: Final = ("none", "master", "worker", "offloader", "actor", "child")


class LedgerFull(Exception):
    """There is no room for another row."""


class Row(NamedTuple):
    """Where the numbers of a key are: words from `first` on, all doubles."""

    kind: int
    key: bytes
    first: int
    numbers: int


@dataclass(frozen=True, slots=True)
class Tenant:
    """Whose place it is, as the master says. `slot` and `generation` are -1 where there is none."""

    pid: int
    role: str
    slot: int
    generation: int


def create() -> int:
    """A descriptor of a fresh ledger (memfd_create(2))."""
    descriptor = os.memfd_create("prefork-ledger", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, PLACES * PLACE_BYTES)
    return descriptor


class Place:
    """One process's part of it."""

    def __init__(self, memory: "mmap.mmap | memoryview[int]", index: int) -> None:
        """`memory` of PLACE_BYTES. Where one comes from: `Ledger`, `place_of`, `own_place`."""
        self.index = index
        self._memory = memoryview(memory)
        self.words: memoryview[float] = self._memory.cast("d")
        self._counts = self._memory.cast("Q")

    # -- what its process does

    def row(self, kind: int, key: bytes, count: int) -> int:
        """The first word of a new row with that many numbers, all 0. Raises LedgerFull; whether the key is there
        already, the caller knows from `rows`."""
        start = self._counts[_END] or HEADER_BYTES
        first = start + _ROW.size + -(-len(key) // WORD) * WORD
        end = first + count * WORD
        if end > PLACE_BYTES:
            raise LedgerFull
        _ROW.pack_into(self._memory, start, end - start, len(key), kind)
        self._memory[start + _ROW.size : start + _ROW.size + len(key)] = key
        self._memory[first:end] = bytes(end - first)  # who was killed in here may have left something
        self._counts[_END] = end  # last: a reader sees whole rows only
        return first // WORD

    def cut(self, end: int) -> None:
        """Rows that stand after byte `end` make no sense: others will stand there."""
        if self._counts[_END]:
            self._counts[_END] = end

    # -- what the master does

    def let(self, tenant: Tenant) -> None:
        """From now on it is that process's."""
        self._counts[_ROLE] = ROLES.index(tenant.role)
        self._counts[_SLOT] = tenant.slot + 1
        self._counts[_GENERATION] = tenant.generation + 1
        self._counts[_PID] = tenant.pid

    def clear(self) -> None:
        """Its process is gone; what it counted stays."""
        self._counts[_PID] = 0

    # -- what all read

    @property
    def tenant(self) -> Tenant:
        counts = self._counts
        role = ROLES[counts[_ROLE]] if counts[_ROLE] < len(ROLES) else ROLES[0]
        return Tenant(counts[_PID], role, counts[_SLOT] - 1, counts[_GENERATION] - 1)

    def rows(self, start: int = 0) -> Iterator[tuple[Row, int]]:
        """The rows from byte `start` on (0: all), each with where to go on after it."""
        at = start or HEADER_BYTES
        while at < min(self._counts[_END], PLACE_BYTES):
            size, key_bytes, kind = _ROW.unpack_from(self._memory, at)
            first = at + _ROW.size + -(-key_bytes // WORD) * WORD
            if size % WORD or not first <= at + size <= PLACE_BYTES:  # no process of ours wrote that
                return
            key = bytes(self._memory[at + _ROW.size : at + _ROW.size + key_bytes])
            yield Row(kind, key, first // WORD, (at + size - first) // WORD), at + size
            at += size

    def numbers(self, row: Row) -> list[float]:
        return list(self.words[row.first : row.first + row.numbers])


class Ledger:
    """All of it, for those who read it: the master, and whom it forks for that."""

    def __init__(self, descriptor: int) -> None:
        """The descriptor stays the caller's."""
        self._memory = memoryview(map_whole(descriptor, PLACES * PLACE_BYTES))
        self._places: dict[int, Place] = {}

    def place(self, index: int) -> Place:
        if index not in self._places:
            start = index * PLACE_BYTES
            self._places[index] = Place(self._memory[start : start + PLACE_BYTES], index)
        return self._places[index]

    def places(self) -> Iterator[Place]:
        """Those that were ever somebody's; they are given away in order."""
        for index in range(PLACES):
            place = self.place(index)
            if place.tenant.role == ROLES[0]:
                return
            yield place


def place_of(descriptor: int, index: int) -> Place:
    """The place of this process alone. The descriptor stays the caller's."""
    return Place(mmap.mmap(descriptor, PLACE_BYTES, offset=index * PLACE_BYTES), index)


def own_place() -> Place:
    """Memory like it that nobody else sees, for a process that is in no server."""
    place = Place(mmap.mmap(-1, PLACE_BYTES), 0)
    place.let(Tenant(os.getpid(), ROLES[0], -1, -1))
    return place
