"""Memory that several processes see: whoever is sent a SharedBuffer maps the same bytes."""

import operator
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex

from prefork.errors import ChildError
from prefork.jobs.lending import lend, take
from prefork.system import memory
from prefork.system.record_locks import RecordLocks

if TYPE_CHECKING:
    import numpy


class SharedBuffer:
    """`size` bytes of memory, zero at first, for all processes that it is sent to: as an argument, a result, a message.

    It is a memfd (memfd_create(2)): it has no name in the file system, and the kernel frees it when its last holder is
    gone, however that ended. Writes are seen at once, and in no order that others could rely on: a `SharedLock` gives
    them one.
    """

    def __init__(self, size: SupportsIndex) -> None:
        """`size` in bytes, at least 1. Raises ValueError, and OSError for lack of descriptors or address space."""
        size = checked_size(size)
        self._open(memory.create("prefork-shared", size), size, owned=True)

    @classmethod
    def of_descriptor(cls, descriptor: int, *, owned: bool) -> "SharedBuffer":
        """The memory behind a memfd. `owned`: close the descriptor with the buffer."""
        self = cls.__new__(cls)
        self._open(descriptor, os.fstat(descriptor).st_size, owned)
        return self

    def _open(self, descriptor: int, size: int, owned: bool) -> None:
        self._descriptor: int | None = descriptor
        self._owned = owned
        self._locks: RecordLocks | None = None
        self.size = size
        try:
            self._memory = memory.map_whole(descriptor, size)
        except BaseException:
            self._descriptor = None
            if owned:
                os.close(descriptor)
            raise

    def __repr__(self) -> str:
        return f"<SharedBuffer of {self.size} bytes{', closed' if self.closed else ''}>"

    def __len__(self) -> int:
        return self.size

    @property
    def closed(self) -> bool:
        """Whether this process has closed it."""
        return self._descriptor is None

    @property
    def view(self) -> memoryview:
        """All its bytes, to read and to write; a new memoryview each time. Raises ValueError once it is closed."""
        self.check_open()
        return memoryview(self._memory)

    def __buffer__(self, flags: int) -> memoryview:
        # From Python 3.12 on, memoryview(buffer) and numpy.frombuffer(buffer) ask this (PEP 688); before, use `view`.
        return self.view

    def array(self, dtype: Any, shape: int | Sequence[int], offset: int = 0) -> "numpy.ndarray[Any, Any]":
        """A NumPy array in this memory, `offset` bytes from its beginning; nothing is copied.

        Raises ChildError where NumPy is not installed, ValueError for what does not fit.
        """
        self.check_open()
        try:
            import numpy
        except ImportError:
            raise ChildError("SharedBuffer.array needs NumPy: pip install numpy; `view` does without") from None
        kind = numpy.dtype(dtype)
        if kind.hasobject:
            raise ValueError(f"dtype {kind} holds Python objects, which only one process could follow")
        try:
            return numpy.ndarray(shape, kind, self._memory, offset)
        except TypeError as error:
            raise ValueError(f"{kind} {shape} at offset {offset} does not fit {self.size} bytes: {error}") from None

    def close(self) -> None:
        """Let go of it here, now and not when the last reference goes. Views and arrays of it stay good, and keep the
        memory; other processes notice nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        if self._locks is not None:
            self._locks.close()
        try:
            self._memory.close()
        except BufferError:  # somebody looks at it: then it goes with the last view
            del self._memory
        if self._owned:
            os.close(descriptor)

    def __enter__(self) -> "SharedBuffer":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_descriptor", None) is not None:
            self.close()

    def __reduce__(self) -> tuple[Callable[[int], "SharedBuffer"], tuple[int]]:
        self.check_open()
        assert self._descriptor is not None
        return _arrived, (lend(self._descriptor),)

    # -- for what lives in it

    @property
    def locks(self) -> RecordLocks:
        """The locks of this process on its bytes; once it is closed, those can be locked no more."""
        if self._locks is None:
            self.check_open()
            assert self._descriptor is not None
            self._locks = RecordLocks(self._descriptor)
        return self._locks

    def check_open(self) -> None:
        """Raises ValueError once it is closed."""
        if self._descriptor is None:
            raise ValueError("this SharedBuffer is closed")


def checked_size(size: SupportsIndex) -> int:
    """A size of memory, NumPy's integers among them. Raises TypeError or ValueError for what is none."""
    try:
        number = operator.index(size)
    except TypeError:
        raise TypeError(f"the size of shared memory is a number of bytes, not {size!r}") from None
    if number < 1:
        raise ValueError(f"the size of shared memory is at least 1 byte, not {number}")
    return number


def place_in(buffer: SharedBuffer | None, offset: int, size: int, alignment: int, what: str) -> SharedBuffer:
    """The buffer for something of `size` bytes at `offset`; without one, memory of its own. Raises ValueError."""
    if buffer is None:
        buffer = SharedBuffer(offset + size)
    if offset < 0 or offset % alignment:
        raise ValueError(f"a {what} lies at a multiple of {alignment}, not at offset {offset}")
    if offset + size > buffer.size:
        raise ValueError(f"a {what} takes {size} bytes; at offset {offset} a buffer of {buffer.size} bytes has less")
    return buffer


def _arrived(index: int) -> SharedBuffer:
    return SharedBuffer.of_descriptor(take(index), owned=True)
