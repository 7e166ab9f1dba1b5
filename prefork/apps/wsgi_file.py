"""`wsgi.file_wrapper`: an iterable over a file, which the server may send without reading it."""

import io
import os
import stat
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

BLOCK_BYTES = 64 * 1024  # of a file that must be read


class Region(NamedTuple):
    """What of a file is to be sent; offset and length in bytes."""

    file: BinaryIO
    offset: int
    length: int


class FileWrapper:
    """The rest of a file, in blocks. It is its own iterator: who keeps only `iter(wrapper)` can still close the file.

    Werkzeug asks for `seekable`, `seek` and `tell` where it sends a range.
    """

    def __init__(self, filelike: Any, block_size: int = BLOCK_BYTES) -> None:
        self.filelike = filelike
        self.block_size = block_size
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        block: bytes = self.filelike.read(self.block_size)
        if not block:
            raise StopIteration
        return block

    def seekable(self) -> bool:
        return bool(getattr(self.filelike, "seekable", bool)())

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return int(self.filelike.seek(offset, whence))

    def tell(self) -> int:
        return int(self.filelike.tell())

    def region(self) -> Region | None:
        """The rest of a regular file, from its position; None if what `read` gives is not what the descriptor holds:
        a GzipFile has a `fileno` too."""
        file = self.filelike
        if type(file) not in (io.BufferedReader, io.BufferedRandom, io.FileIO):
            return None
        try:
            if isinstance(file, io.BufferedRandom):
                file.flush()
            found = os.fstat(file.fileno())
            offset = file.tell()
        except (OSError, ValueError):
            return None
        if not stat.S_ISREG(found.st_mode) or found.st_size == 0:  # files of /proc are empty until they are read
            return None
        return Region(file, offset, max(0, found.st_size - offset))
