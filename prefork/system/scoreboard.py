"""One worker's scoreboard in shared memory: its heartbeat, its counters, and a record of each request in flight.

Each word has a single writer: the worker writes all but the master's flag. So there are no locks, and what a killed
worker wrote last is still there for the master to read.
"""

import mmap
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

PAGE_BYTES: Final = 128  # two cache lines: the worker's words, then the master's
PEAK_SECONDS: Final = 1.25  # who looks once a second, about, misses no peak
RECORD_BYTES: Final = 128  # start time, then the beginning of the request line

_RECORD = struct.Struct(f"d{RECORD_BYTES - 8}p")
_REQUEST_LINE_END: Final = b" HTTP/1."

# Words of 8 bytes, by index. The last one: first word of the furthest record that was ever used.
_BEAT, _ACCEPTED, _CLOSED, _REQUESTS, _LAG, _BUSY, _LAG_PEAK, _LAST = range(8)
_MASTER_WAITS = 64 // 8


@dataclass(frozen=True, slots=True)
class InFlight:
    """A request that was being handled: method and target (cut to what a record holds), and its age in seconds."""

    request: str
    age: float


def size(connections: int) -> int:
    """Bytes of a scoreboard. One record more than connections takes what does not fit."""
    return PAGE_BYTES + (connections + 1) * RECORD_BYTES


def create(connections: int) -> int:
    """A descriptor of fresh memory (memfd_create(2)); its pages cost nothing until they are written."""
    descriptor = os.memfd_create("prefork-scoreboard", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, size(connections))
    return descriptor


class Scoreboard:
    """The master's view: reads everything, writes one flag."""

    def __init__(self, descriptor: int, connections: int) -> None:
        self._records = connections + 1
        self._memory = mmap.mmap(descriptor, size(connections))
        self._floats = memoryview(self._memory).cast("d")
        self._counts = memoryview(self._memory).cast("Q")

    @property
    def last_beat(self) -> float:
        """Monotonic seconds; 0 before the first."""
        return self._floats[_BEAT]

    @property
    def accepted(self) -> int:
        """Connections the worker accepted by itself (balance kernel)."""
        return self._counts[_ACCEPTED]

    @property
    def closed(self) -> int:
        """Connections that are gone: closed, or handed back."""
        return self._counts[_CLOSED]

    @property
    def requests(self) -> int:
        """Requests answered, as of the last beat."""
        return self._counts[_REQUESTS]

    @property
    def lag(self) -> float:
        """How many seconds late the event loop came round for its last beat."""
        return self._floats[_LAG]

    @property
    def lag_peak(self) -> float:
        """The most of the last `PEAK_SECONDS`, or up to twice as long."""
        return self._floats[_LAG_PEAK]

    @property
    def busy(self) -> float:
        """Share of the time between its last two beats that the worker was at work, waited for a processor, was blocked
        or had its threads blocked, 0 to 1."""
        return self._floats[_BUSY]

    def in_flight(self, now: float) -> list[InFlight]:
        """The requests that have begun and not ended, oldest first. `now` in monotonic seconds."""
        last = self._counts[_LAST]  # further on nothing was ever written, and to read it would take memory
        starts = self._floats[PAGE_BYTES // 8 : last + 1 : RECORD_BYTES // 8].tolist() if last else []
        found = []
        for index in (index for index, start in enumerate(starts) if start):
            start, text = _RECORD.unpack_from(self._memory, PAGE_BYTES + index * RECORD_BYTES)
            found.append(InFlight(text.split(_REQUEST_LINE_END)[0].decode("latin-1"), now - start))
        return sorted(found, key=lambda record: -record.age)

    def wait_for_room(self, wait: bool) -> None:
        """Ask the worker to say when a connection closes: the master has stopped accepting."""
        self._counts[_MASTER_WAITS] = wait

    def close(self) -> None:
        self._floats.release()
        self._counts.release()
        self._memory.close()


class ScoreboardWriter:
    """The worker's view; also the flight recorder of its HTTP side."""

    def __init__(self, descriptor: int, connections: int) -> None:
        self._memory = mmap.mmap(descriptor, size(connections))
        self._floats = memoryview(self._memory).cast("d")
        self._counts = memoryview(self._memory).cast("Q")
        first, overflow = PAGE_BYTES // 8, (PAGE_BYTES + connections * RECORD_BYTES) // 8
        self._overflow = overflow
        self._last = 0
        self._requests = 0
        self._lag_before, self._lag_most = 0.0, 0.0  # of the span before, and of this one
        self._span_ends = 0.0  # monotonic seconds
        self._free = list(
            range(overflow - RECORD_BYTES // 8, first - 1, -RECORD_BYTES // 8)
        )  # the first is popped first
        self.on_room: Callable[[], None] | None = None  # called when a connection closed and the master waits for it

    def beat(self, now: float, lag: float = 0.0, busy: float = 0.0) -> None:
        """The event loop turns (`now` in monotonic seconds), `lag` seconds late, and was `busy` for that share of the
        time since it did before."""
        self._floats[_BEAT] = now
        self._floats[_LAG] = lag
        if now >= self._span_ends:
            self._lag_before, self._lag_most, self._span_ends = self._lag_most, 0.0, now + PEAK_SECONDS
        self._lag_most = max(self._lag_most, lag)
        self._floats[_LAG_PEAK] = max(self._lag_before, self._lag_most)
        self._floats[_BUSY] = busy
        self._counts[_REQUESTS] = self._requests

    def count_accepted(self) -> None:
        self._counts[_ACCEPTED] += 1

    def count_lost(self) -> None:
        """A connection that was handed to us is gone before we could open it."""
        self._counts[_CLOSED] += 1
        self._report_room()

    def opened(self) -> int:
        """The record for a new connection, as the index of its first word."""
        record = self._free.pop() if self._free else self._overflow
        if record > self._last:
            self._last = self._counts[_LAST] = record
        return record

    def closed(self, record: int) -> None:
        """A connection is gone, and with it what it had in flight."""
        self._floats[record] = 0.0
        self._counts[_CLOSED] += 1
        if record != self._overflow:
            self._free.append(record)
        self._report_room()

    def _report_room(self) -> None:
        if self._counts[_MASTER_WAITS] and self.on_room is not None:
            self.on_room()

    def began(self, record: int, now: float, head: bytes) -> None:
        """A request has begun; `head` starts with its request line and is cut to what fits."""
        _RECORD.pack_into(self._memory, record * 8, now, head)

    def answered(self, record: int, exchange: object) -> None:
        """Its response is written, or will never be."""
        self._floats[record] = 0.0
        self._requests += 1

    def switched(self, record: int, exchange: object) -> None:
        """It is answered, and another protocol goes on under its record."""
        self._requests += 1

    def ended(self, record: int) -> None:
        """And that is over."""
        self._floats[record] = 0.0

    def refused(self, status: int) -> None:
        """What came was no request, and was answered so."""

    def waited(self, seconds: float) -> None:
        """So long after it was accepted the first bytes of a connection were read."""
