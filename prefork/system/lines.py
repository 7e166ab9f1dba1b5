"""Write lines to a file in batches, from a thread, so that a slow disk or reader never blocks the event loop."""

import logging
import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from prefork.system.log import PIPE_BYTES, open_log, reopen_log

HELD_BYTES: Final = 4 * 1024 * 1024  # more than this behind a writer that does not move is lost, and counted

_log = logging.getLogger("prefork.access")


class LineFile:
    """A file of lines, shared with other processes that append to it."""

    def __init__(self, path: str, on_lost: Callable[[int], None] = lambda count: None) -> None:
        """`-` is standard output; `on_lost` is called, not in the thread, with how many lines could not be written.
        Raises UsageError when the file cannot be opened."""
        self._path = path
        self._descriptor = open_log(path, 1)
        self._lines: list[bytes] = []
        self._bytes = 0
        self._thread = ThreadPoolExecutor(1, "prefork-lines")
        self._writing: Future[int] | None = None
        self._on_lost = on_lost
        self._losing = False  # the last batch could not be written
        self._why = ""
        self._cut = False  # what was written last ends within a line

    def add(self, line: bytes) -> None:
        """Queue a line, its end included."""
        if self._bytes + len(line) > HELD_BYTES:
            self._lose(1, "it is written too slowly")
            return
        self._lines.append(line)
        self._bytes += len(line)

    def flush(self) -> None:
        """Start writing what is queued, unless the last write still goes on. Called at every tick."""
        if self._writing is not None and self._writing.done():
            self._settle(0.0)
        if self._lines and self._writing is None:
            lines, self._lines = self._lines, []
            self._bytes = 0
            self._writing = self._thread.submit(self._write, lines)

    def finish(self, seconds: float) -> None:
        """Write what is queued. Raises TimeoutError when a batch takes longer than `seconds`; there are two at most."""
        self._settle(seconds)
        self.flush()
        self._settle(seconds)

    def close(self, seconds: float) -> None:
        """Write what is queued, for at most `seconds`."""
        try:
            self.finish(seconds)
        except TimeoutError:
            self._thread.shutdown(wait=False, cancel_futures=True)
            return
        self._thread.shutdown()
        if self._path != "-":
            os.close(self._descriptor)

    def reopen(self) -> None:
        """Open the file anew by its name, after the writes so far."""
        self._thread.submit(self._reopen)

    def _reopen(self) -> None:
        self._descriptor = reopen_log(self._path, self._descriptor, 1)
        self._cut = False

    def _settle(self, seconds: float) -> None:
        """What became of the last batch, which may take so long. Raises TimeoutError."""
        if self._writing is not None:
            lost = self._writing.result(seconds)
            self._writing = None
            if lost:
                self._lose(lost, self._why)
            else:
                self._losing = False

    def _lose(self, count: int, why: str) -> None:
        if not self._losing:
            self._losing = True
            _log.warning("cannot write the access log %s: %s; lines are lost", self._path, why)
        self._on_lost(count)

    def _write(self, lines: list[bytes]) -> int:
        """In the thread. Returns how many are lost."""
        left = sum(line.count(b"\n") for line in lines)
        try:
            if self._cut:
                os.write(self._descriptor, b"\n")
                self._cut = False
            whole = stat.S_ISREG(os.fstat(self._descriptor).st_mode)
            for data in (b"".join(lines),) if whole else _pieces(lines):
                while data:
                    written = os.write(self._descriptor, data)
                    left -= data.count(b"\n", 0, written)
                    self._cut = data[written - 1 : written] != b"\n"
                    data = data[written:]
        except OSError as error:
            self._why = (error.strerror or str(error)).lower()
        return left


def _pieces(lines: list[bytes]) -> Iterator[bytes]:
    """Lines joined up to what a pipe takes in one go."""
    piece = b""
    for line in lines:
        if piece and len(piece) + len(line) > PIPE_BYTES:
            yield piece
            piece = b""
        piece += line
    yield piece
