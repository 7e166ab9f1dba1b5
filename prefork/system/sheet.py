"""A worker's sheet: a small text in shared memory that it writes anew now and then, and the master reads at any time.

A sequence lock: the number at its head is odd while the text is written, and another one afterwards. A reader that
finds it odd or changed tries again. Both words before the text are the worker's.
"""

import mmap
import os
from typing import Final

SHEET_BYTES: Final = 256 * 1024  # its pages cost nothing until they are written
TEXT_BYTES: Final = SHEET_BYTES - 16
TRIES: Final = 20  # of a reader; a writer that was killed while it wrote leaves no text

_TURN, _LENGTH = range(2)  # words of 8 bytes
_FIRST: Final = 16


def create() -> int:
    """A descriptor of fresh memory (memfd_create(2))."""
    descriptor = os.memfd_create("prefork-sheet", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, SHEET_BYTES)
    return descriptor


class SheetWriter:
    """The worker's view."""

    def __init__(self, descriptor: int) -> None:
        """The descriptor stays the caller's."""
        self._memory = mmap.mmap(descriptor, SHEET_BYTES)
        self._words = memoryview(self._memory).cast("Q")
        self._text = b""

    def write(self, text: bytes) -> None:
        """Put this in the place of what is there. Raises ValueError for more than TEXT_BYTES."""
        if text == self._text:
            return
        if len(text) > TEXT_BYTES:
            raise ValueError(f"{len(text)} bytes do not fit a sheet")
        self._words[_TURN] += 1
        self._words[_LENGTH] = len(text)
        self._memory[_FIRST : _FIRST + len(text)] = text
        self._words[_TURN] += 1
        self._text = text


class Sheet:
    """The master's view."""

    def __init__(self, descriptor: int) -> None:
        """The descriptor stays the caller's."""
        self._memory = mmap.mmap(descriptor, SHEET_BYTES)
        self._words = memoryview(self._memory).cast("Q")
        self._last = b""

    def read(self) -> bytes:
        """What was written last, nothing before the first time; what was read last, if it is just being written."""
        for _ in range(TRIES):
            turn, length = self._words[_TURN], self._words[_LENGTH]
            if turn % 2 or length > TEXT_BYTES:
                continue
            text = bytes(self._memory[_FIRST : _FIRST + length])
            if self._words[_TURN] == turn:
                self._last = text
                break
        return self._last

    def close(self) -> None:
        self._words.release()
        self._memory.close()
