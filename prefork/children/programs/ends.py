"""The pipes of a program that starts: its ends are closed once it has them, ours too when it cannot start."""

import fcntl
import os
from contextlib import suppress
from io import FileIO
from types import TracebackType
from typing import Final, Self

WIDE_BYTES: Final = 256 * 1024  # in the kernel, instead of 64 KiB (pipe(7)): we and the program wait less often


class Ends:
    """Pipes that are made in a `with`, at whose end each descriptor has an owner or is closed."""

    def __init__(self) -> None:
        self._theirs: list[int] = []
        self._ours: list[int] = []
        self._files: list[FileIO] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for descriptor in self._theirs if error is None else [*self._theirs, *self._ours]:
            os.close(descriptor)
        if error is not None:
            for file in self._files:
                file.close()

    def from_program(self, wide: bool = False) -> tuple[int, int]:
        """A pipe for it to write to: its end, and ours, which does not block. A `wide` one is for much data."""
        ours, theirs = os.pipe2(os.O_CLOEXEC)
        return self._keep(theirs, ours, wide)

    def to_program(self, wide: bool = False) -> tuple[int, int]:
        """A pipe for it to read from: its end, and ours, which does not block."""
        theirs, ours = os.pipe2(os.O_CLOEXEC)
        return self._keep(theirs, ours, wide)

    def open_copy(self, descriptor: int) -> FileIO:
        """A duplicate, ours. Raises OSError for what cannot be read, such as a folder."""
        copy = os.dup(descriptor)
        try:
            file = FileIO(copy)
        except OSError:
            os.close(copy)
            raise
        self._files.append(file)
        return file

    def _keep(self, theirs: int, ours: int, wide: bool) -> tuple[int, int]:
        self._theirs.append(theirs)
        self._ours.append(ours)
        os.set_blocking(ours, False)  # only ours: each end has a flag of its own
        if wide:
            with suppress(OSError):  # this user has many wide pipes already
                fcntl.fcntl(ours, fcntl.F_SETPIPE_SZ, WIDE_BYTES)
        return theirs, ours
