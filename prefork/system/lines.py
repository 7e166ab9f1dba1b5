"""Write lines to a file in batches, from a thread, so that a slow disk or reader never blocks the event loop."""

import os
import stat
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from prefork.system.log import PIPE_BYTES, open_log, reopen_log

HELD_BYTES: Final = 4 * 1024 * 1024  # more than this behind a writer that does not move is dropped, and counted


class LineFile:
    """A file of lines, shared with other processes that append to it."""

    def __init__(self, path: str) -> None:
        """`-` is standard output. Raises UsageError when the file cannot be opened."""
        self._path = path
        self._descriptor = open_log(path, 1)
        self._lines: list[bytes] = []
        self._bytes = 0
        self._thread = ThreadPoolExecutor(1, "prefork-lines")
        self._writing: Future[None] | None = None
        self.dropped = 0

    def add(self, line: bytes) -> None:
        """Queue a line, its end included."""
        if self._bytes + len(line) > HELD_BYTES:
            self.dropped += 1
            return
        self._lines.append(line)
        self._bytes += len(line)

    def flush(self) -> None:
        """Start writing what is queued, unless the last write still goes on. Called at every tick."""
        if self._lines and (self._writing is None or self._writing.done()):
            lines, self._lines = self._lines, []
            self._bytes = 0
            self._writing = self._thread.submit(self._write, lines)

    def close(self, seconds: float) -> None:
        """Write what is queued, for at most `seconds`."""
        try:
            if self._writing is not None:
                self._writing.result(seconds)
            self.flush()
            if self._writing is not None:
                self._writing.result(seconds)
        except TimeoutError:
            self._thread.shutdown(wait=False, cancel_futures=True)
            return
        except OSError:
            pass
        self._thread.shutdown()
        if self._path != "-":
            os.close(self._descriptor)

    def reopen(self) -> None:
        """Open the file anew by its name, after the writes so far."""
        self._thread.submit(self._reopen)

    def _reopen(self) -> None:
        self._descriptor = reopen_log(self._path, self._descriptor, 1)

    def _write(self, lines: list[bytes]) -> None:
        whole = stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        for data in (b"".join(lines),) if whole else _pieces(lines):
            while data:
                data = data[os.write(self._descriptor, data) :]


def _pieces(lines: list[bytes]) -> Iterator[bytes]:
    """Lines joined up to what a pipe takes in one go."""
    piece = b""
    for line in lines:
        if piece and len(piece) + len(line) > PIPE_BYTES:
            yield piece
            piece = b""
        piece += line
    yield piece
