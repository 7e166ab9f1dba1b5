"""A number that several processes count in."""

from typing import Final

from prefork.children.memory.buffer import SharedBuffer, place_in

BYTES: Final = 8
LEAST: Final = -(2**63)
MOST: Final = 2**63 - 1


class SharedCounter:
    """A signed number of 64 bits: what one process adds, no other loses.

    Adding locks the counter's first byte for some microseconds (`RecordLocks`), so one who dies in there leaves the old
    number or the new one, and nobody waits for it.
    """

    SIZE: Final = BYTES

    def __init__(self, buffer: SharedBuffer | None = None, offset: int = 0) -> None:
        """A counter in the 8 bytes at `offset` of a buffer, a multiple of 8; without a buffer, in memory of its own.
        It begins with what is there: zero, in fresh memory. Raises ValueError."""
        self._buffer = place_in(buffer, offset, BYTES, BYTES, "SharedCounter")
        self._offset = offset
        self._word = self._buffer.view[offset : offset + BYTES].cast("q")

    def __repr__(self) -> str:
        return f"<SharedCounter {self.value}>"

    @property
    def value(self) -> int:
        """What it is now. One read of an aligned word: never half of a change."""
        return self._word[0]

    def add(self, count: int = 1) -> int:
        """Add to it. Returns what it is then: no two adders get the same step. Raises OverflowError past 64 bits,
        ValueError once its buffer is closed, OSError for lack of a descriptor."""
        locks, offset, word = self._buffer.locks, self._offset, self._word
        with locks.mutex:
            locks.lock(offset)
            try:
                value = _checked(word[0] + count)
                word[0] = value
            finally:
                locks.unlock(offset)
        return value

    def set(self, value: int) -> None:
        """Let it be `value`, between two additions and not within one. Raises as `add` does."""
        locks, offset = self._buffer.locks, self._offset
        with locks.mutex:
            locks.lock(offset)
            try:
                self._word[0] = _checked(value)
            finally:
                locks.unlock(offset)

    def __reduce__(self) -> tuple[type["SharedCounter"], tuple[SharedBuffer, int]]:
        return SharedCounter, (self._buffer, self._offset)


def _checked(value: int) -> int:
    if not LEAST <= value <= MOST:
        raise OverflowError(f"a SharedCounter holds 64 bits; {value} needs more")
    return value
