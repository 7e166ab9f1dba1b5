"""Python stacks that faulthandler writes in a child, on their way into the master's log."""

import logging
import os
import selectors
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

QUIET_SECONDS: Final = 0.05  # a dump comes in many small writes; it is logged once it has been quiet this long
PIPE_BYTES: Final = 64 * 1024  # a pipe's capacity, see pipe(7)
_OURS: Final = "in run_worker"  # frames below it belong to the mold and the master that we were forked from

_log = logging.getLogger("prefork.stacks")


class StacksPipe:
    """A pipe into which one child's faulthandler writes."""

    def __init__(self) -> None:
        self._read, self.write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._text = b""

    def fileno(self) -> int:
        return self._read

    def forget_write_end(self) -> None:
        os.close(self.write_end)

    def pull(self) -> bool:
        """Read what has come. False at the end of the pipe."""
        try:
            piece = os.read(self._read, PIPE_BYTES)
        except BlockingIOError:
            return True
        self._text += piece
        return bool(piece)

    def pop(self) -> str:
        """What has come since the last call, without the frames below the worker's own."""
        text, self._text = self._text, b""
        lines: list[str] = []
        below = False
        for line in text.decode("utf-8", "replace").splitlines():
            if not line.startswith("  File "):
                below = False
            if not below:
                lines.append(line)
            below = below or line.endswith(_OURS)
        return "\n".join(lines)

    def close(self) -> None:
        os.close(self._read)


class StacksLog:
    """Logs what comes through the pipes of all children, a dump at a time."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._coming: dict[StacksPipe, float] = {}  # when it will have been quiet long enough
        self._owners: dict[StacksPipe, str] = {}
        self._diverted: dict[StacksPipe, Callable[[str], None]] = {}

    def watch(self, pipe: StacksPipe, owner: str) -> None:
        self._owners[pipe] = owner
        self._selector.register(pipe, selectors.EVENT_READ, partial(self._pull, pipe))

    def forget(self, pipe: StacksPipe) -> None:
        """The child is gone: log what it wrote last, and close the pipe."""
        if pipe in self._selector.get_map():
            self._selector.unregister(pipe)
        pipe.pull()
        self._diverted.pop(pipe, None)
        self._write(pipe)
        del self._owners[pipe]
        pipe.close()

    def divert(self, pipe: StacksPipe, then: Callable[[str], None] | None) -> None:
        """Give the next dump to `then`, who has asked for it, instead of the log. None: it was waited for in vain."""
        if then is None:
            self._diverted.pop(pipe, None)
        elif pipe in self._owners:
            self._diverted[pipe] = then

    def write_quiet(self, now: float) -> None:
        for pipe in [pipe for pipe, quiet_at in self._coming.items() if now >= quiet_at]:
            self._write(pipe)

    def deadlines(self) -> Iterator[float]:
        yield from self._coming.values()

    def _pull(self, pipe: StacksPipe) -> None:
        if pipe.pull():
            self._coming[pipe] = time.monotonic() + QUIET_SECONDS
        else:
            self._selector.unregister(pipe)

    def _write(self, pipe: StacksPipe) -> None:
        self._coming.pop(pipe, None)
        text = pipe.pop()
        then = self._diverted.pop(pipe, None) if text else None
        if then is not None:
            then(text)
        elif text:
            _log.warning("stacks of %s:\n%s", self._owners[pipe], text)
