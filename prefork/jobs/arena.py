"""Large payloads in shared memory: a memfd that its writer keeps and writes again, and its reader maps.

What is in an arena: the length of each part (8 bytes each), then the parts, each on an ALIGNMENT boundary; the first
part is the pickle. Kept pages are the point: to touch fresh ones costs ten times the copy.
"""

import ctypes
import mmap
import os
import weakref
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

from prefork.errors import Unsendable
from prefork.jobs.payload import Payload, decode

ALIGNMENT: Final = 64  # of NumPy's and the processor's liking
QUICK_BYTES: Final = (
    16 * 1024 * 1024
)  # copied within a few milliseconds at most; more goes to a thread, without the GIL
IO_BYTES: Final = 1 << 30  # a read or write of more is cut short by the kernel (write(2): 2 GiB)
LENGTH_BYTES: Final = 8


class ArenaWriter:
    """The side that owns an arena. `shared` is false until the reader has its descriptor."""

    def __init__(self, most: int) -> None:
        """`most` bytes."""
        self._most = most
        self.descriptor = os.memfd_create("prefork-arena", os.MFD_CLOEXEC)
        self._mapping = _Mapping(self.descriptor)
        self.shared = False
        self.bytes = 0  # written last

    def write(self, payload: Payload) -> None:
        """Write a payload over what was there; without the GIL, if it is large. Raises OSError for lack of memory."""
        parts = [memoryview(payload.pickle), *payload.buffers]
        table = array("Q", [part.nbytes for part in parts])
        needed = size(payload)
        if os.fstat(self.descriptor).st_size < needed:  # the reader may have shrunk it
            os.ftruncate(self.descriptor, needed)
        whole = self._mapping.view(needed)
        whole[: len(table) * LENGTH_BYTES] = memoryview(table).cast("B")
        for part, offset in zip(parts, _offsets(table), strict=True):
            if needed <= QUICK_BYTES:
                whole[offset : offset + part.nbytes] = part
            else:
                _in_pieces(lambda piece, at: os.pwrite(self.descriptor, piece, at), part, offset)
        self.bytes = needed

    def check(self, payload: Payload, what: str) -> None:
        """Raises Unsendable when the payload is too large."""
        needed = size(payload)
        if needed > self._most:
            raise Unsendable(
                f"{what}: {needed} bytes are more than offload_arena = {self._most} allows; raise --offload-arena, or "
                "pass less (a path, a key)"
            )

    def shrink(self) -> None:
        """Give the memory back; the arena stays. Only while nobody reads it."""
        os.ftruncate(self.descriptor, 0)

    def close(self) -> None:
        self._mapping.close()
        os.close(self.descriptor)


class ArenaReader:
    """The other side."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._mapping = _Mapping(descriptor)
        self._loan: weakref.ref[Any] | None = None  # what all views of the loaded value hold on to

    def load(self, length: int, parts: int, loads: Callable[[memoryview, list[memoryview]], Any] = decode) -> Any:
        """The value in the first `length` bytes; its buffers are where they are, as long as nobody writes the arena.
        Raises what its classes raise, or `loads`, which makes it anew."""
        loan = self._mapping.loan(length)
        self._loan = weakref.ref(loan)
        whole = memoryview(loan).cast("B")
        stream, *buffers = [whole[offset : offset + count] for offset, count in _table(whole, parts)]
        return loads(stream, buffers)

    def copy(self, length: int, parts: int) -> Any:
        """The value, with copies of its buffers. Without the GIL, if it is large. Raises what its classes raise."""
        whole = self._mapping.view(length)
        (at, count), *rest = _table(whole, parts)
        if length <= QUICK_BYTES:
            return decode(whole[at : at + count], [bytearray(whole[offset : offset + many]) for offset, many in rest])
        rooms = []
        for offset, many in [(at, count), *rest]:
            room = bytearray(many)
            _in_pieces(lambda piece, at: os.preadv(self._descriptor, [piece], at), memoryview(room), offset)
            rooms.append(room)
        return decode(memoryview(rooms[0]), rooms[1:])

    def let_go(self) -> bool:
        """The job is over. False when something still refers to what was loaded: then it must never be overwritten."""
        return self._loan is None or self._loan() is None

    def shrink(self) -> None:
        """Give the memory back; its writer will notice."""
        os.ftruncate(self._descriptor, 0)

    def close(self) -> None:
        """Close the descriptor; what is still referred to stays mapped."""
        self._mapping.close()
        os.close(self._descriptor)


class _Mapping:
    """A memfd in our address space, mapped anew when it has grown."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._memory: mmap.mmap | None = None

    def view(self, length: int) -> memoryview:
        """Its first `length` bytes. Old views stay valid."""
        if self._memory is None or len(self._memory) < length:
            self.close()
            self._memory = mmap.mmap(self._descriptor, length)
        return memoryview(self._memory)[:length]

    def loan(self, length: int) -> Any:
        """The same bytes, behind an object of their own: it lives as long as any view of it."""
        view = self.view(length)
        return (ctypes.c_char * length).from_buffer(view)

    def close(self) -> None:
        """Unmap it now, and not when the last reference happens to go; unless there are views."""
        if self._memory is not None:
            with suppress(BufferError):
                self._memory.close()


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


def _table(whole: memoryview, parts: int) -> list[tuple[int, int]]:
    """Where each part begins, and its length."""
    lengths = array("Q", whole[: parts * LENGTH_BYTES].tobytes())
    return list(zip(_offsets(lengths), lengths, strict=True))


def _in_pieces(move: Callable[[memoryview, int], int], data: memoryview, offset: int) -> None:
    done = 0
    while done < data.nbytes:
        moved = move(data[done : done + IO_BYTES], offset + done)
        if not moved:
            raise OSError(f"the arena ends at {offset + done}")
        done += moved
