"""Large payloads in shared memory: a memfd that its writer keeps and writes again, and its reader maps or copies from.

What is in an arena: the length of each part (8 bytes each), then the parts, each on an ALIGNMENT boundary; the first
part is the pickle. Kept pages are the point: to touch fresh ones costs ten times the copy.
"""

import mmap
import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from prefork.errors import Unsendable
from prefork.jobs.payload import Payload, decode

ALIGNMENT: Final = 64  # of NumPy's and the processor's liking
IO_BYTES: Final = 1 << 30  # a read or write of more is cut short by the kernel (write(2): 2 GiB)
LENGTH_BYTES: Final = 8


class ArenaWriter:
    """The side that owns an arena. `shared` is false until the reader has its descriptor."""

    def __init__(self, most: int) -> None:
        """`most` bytes."""
        self._most = most
        self.descriptor = os.memfd_create("prefork-arena", os.MFD_CLOEXEC)
        self.shared = False
        self.bytes = 0  # written last

    def write(self, payload: Payload) -> None:
        """Write a payload over what was there. Lets go of the GIL for each part. Raises OSError."""
        parts = [memoryview(payload.pickle), *payload.buffers]
        table = array("Q", [part.nbytes for part in parts])
        _write(self.descriptor, memoryview(table).cast("B"), 0)
        for part, offset in zip(parts, _offsets(table), strict=True):
            _write(self.descriptor, part, offset)
        self.bytes = size(payload)

    def check(self, payload: Payload, what: str) -> None:
        """Raises Unsendable when the payload is too large."""
        needed = size(payload)
        if needed > self._most:
            raise Unsendable(
                f"{what}: {needed} bytes are more than offload_arena = {self._most} allows; raise --offload-arena, or "
                "pass less (a path, a key)"
            )

    def shrink(self) -> None:
        """Give the memory back; the arena stays."""
        os.ftruncate(self.descriptor, 0)
        self.bytes = 0

    def close(self) -> None:
        os.close(self.descriptor)


class ArenaMap:
    """The side that reads arguments where they are: they are views into the mapping."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._memory: mmap.mmap | None = None
        self._views: list[memoryview] = []

    def load(self, length: int, parts: int) -> Any:
        """The value in the first `length` bytes. Raises what its classes raise."""
        if self._memory is None or len(self._memory) < length:
            self._memory = mmap.mmap(self._descriptor, os.fstat(self._descriptor).st_size)
        whole = memoryview(self._memory)
        table = array("Q", whole[: parts * LENGTH_BYTES].tobytes())
        views = [whole[offset : offset + count] for offset, count in zip(_offsets(table), table, strict=True)]
        self._views = [*views, whole]
        return decode(views[0], views[1:])

    def let_go(self) -> bool:
        """The job is over. False when something still refers to what was loaded: then it must never be overwritten."""
        try:
            for view in self._views:
                view.release()
        except BufferError:
            return False
        finally:
            self._views = []
        return True

    def close(self) -> None:
        """Close the descriptor; what is still referred to stays mapped."""
        os.close(self._descriptor)


def read(descriptor: int, parts: int) -> Any:
    """The value in an arena, as a copy. Lets go of the GIL while it copies."""
    table = array("Q", os.pread(descriptor, parts * LENGTH_BYTES, 0))
    offsets = _offsets(table)
    stream = _read_bytes(descriptor, table[0], next(offsets))
    buffers = []
    for count, offset in zip(table[1:], offsets, strict=True):
        memory = mmap.mmap(-1, count)  # not a bytearray: that would be filled with zeros first
        _read_into(descriptor, memoryview(memory), offset)
        buffers.append(memory)
    return decode(stream, buffers)


def size(payload: Payload) -> int:
    """Bytes a payload takes in an arena."""
    table = [len(payload.pickle), *(buffer.nbytes for buffer in payload.buffers)]
    *_, last = _offsets(table)
    return last + table[-1]


def _offsets(lengths: Sequence[int]) -> Iterator[int]:
    offset = len(lengths) * LENGTH_BYTES
    for length in lengths:
        offset = -(-offset // ALIGNMENT) * ALIGNMENT
        yield offset
        offset += length


def _write(descriptor: int, data: memoryview, offset: int) -> None:
    _in_pieces(lambda piece, at: os.pwrite(descriptor, piece, at), data, offset)


def _read_into(descriptor: int, room: memoryview, offset: int) -> None:
    _in_pieces(lambda piece, at: os.preadv(descriptor, [piece], at), room, offset)


def _in_pieces(move: Callable[[memoryview, int], int], data: memoryview, offset: int) -> None:
    done = 0
    while done < data.nbytes:
        moved = move(data[done : done + IO_BYTES], offset + done)
        if not moved:
            raise OSError(f"the arena ends at {offset + done}")
        done += moved


def _read_bytes(descriptor: int, count: int, offset: int) -> bytes:
    if count <= IO_BYTES:
        return os.pread(descriptor, count, offset)
    room = bytearray(count)
    _read_into(descriptor, memoryview(room), offset)
    return bytes(room)
