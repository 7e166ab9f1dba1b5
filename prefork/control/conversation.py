"""One connection to the control socket: lines in, answers out, one at a time, and never anybody waiting for it."""

import selectors
import socket
import time
from collections.abc import Callable
from math import inf
from typing import Final

from prefork.control import wire
from prefork.control.wire import LINE_BYTES

READ_BYTES: Final = 64 * 1024
HALF_LINE_SECONDS: Final = 10.0  # for the rest of a line that has begun
IDLE_SECONDS: Final = 300.0  # without a command; who watches asks at least once a minute
WRITE_SECONDS: Final = 10.0  # for a reader that takes nothing


class Conversation:
    """What one client has sent and not been answered, and what it has not read of its answers.

    It reads nothing while an answer is on its way, so it holds one line and one answer at most. Each turn of the
    master's loop obeys one command of it, however many it has sent.
    """

    def __init__(
        self,
        end: socket.socket,
        trusted: bool,
        selector: selectors.BaseSelector,
        obey: Callable[["Conversation", bytes], None],
        gone: Callable[["Conversation"], None],
        changed: Callable[[], None],
    ) -> None:
        """`obey` is called with each line and calls `answer` once, now or later; `changed` when the deadline is another
        one. `trusted`: it may be idle for ever."""
        self.trusted = trusted
        self.deadline = inf  # monotonic seconds
        self._end = end
        self._selector = selector
        self._obey = obey
        self._gone = gone
        self._changed = changed
        self._input = b""
        self._output = memoryview(b"")
        self._ended = False  # it sends no more
        self._closing = False  # when what is left is written
        self._watched = 0
        end.setblocking(False)
        self._await_line()

    @property
    def held(self) -> int:
        """Bytes of its answer that it has not taken."""
        return len(self._output)

    @property
    def closed(self) -> bool:
        return self._end.fileno() < 0

    def answer(self, line: bytes) -> None:
        """Send the answer to the line that was obeyed last."""
        if self.closed:
            return
        self._output = memoryview(line)
        self.deadline = time.monotonic() + WRITE_SECONDS
        self._changed()
        self._write()

    def expire(self) -> None:
        """Its deadline has passed."""
        if self._output or not self._input:
            self.close()
        else:
            self._refuse(f"the rest of the line did not come within {HALF_LINE_SECONDS:g} s")

    def close(self) -> None:
        if not self.closed:
            self._watch(0)
            self._end.close()
            self._output = memoryview(b"")
            self._gone(self)

    def _turn(self) -> None:
        """The socket is ready for what we wait for."""
        if self._output:
            self._write()
        elif self._has_line:
            self._next()
        else:
            self._read()

    @property
    def _has_line(self) -> bool:
        return b"\n" in self._input

    def _read(self) -> None:
        try:
            piece = self._end.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if not piece:
            self._ended = True
            piece = b"\n" if self._input else b""  # a last line without its end counts
        self._input += piece
        self._next()

    def _next(self) -> None:
        """Obey one line, if there is a whole one."""
        line, end, rest = self._input.partition(b"\n")
        if len(line) > LINE_BYTES:
            self._refuse(f"the line is longer than {LINE_BYTES} bytes")
        elif end:
            self._input = rest
            self._watch(0)
            self.deadline = inf  # whoever answers has its own
            self._obey(self, line)
        elif self._ended:
            self.close()
        else:
            self._await_line()

    def _await_line(self) -> None:
        now = time.monotonic()
        if not self._input:
            self.deadline = inf if self.trusted else now + IDLE_SECONDS
        elif not self._watched:  # else the time of this line runs already
            self.deadline = now + HALF_LINE_SECONDS
        else:
            self.deadline = min(self.deadline, now + HALF_LINE_SECONDS)
        self._changed()
        self._watch(selectors.EVENT_READ)

    def _refuse(self, words: str) -> None:
        self._input, self._closing = b"", True
        self.answer(wire.error(words))

    def _write(self) -> None:
        try:
            sent = self._end.send(self._output)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        self._output = self._output[sent:]
        if self._output:
            if sent:
                self.deadline = time.monotonic() + WRITE_SECONDS
            self._watch(selectors.EVENT_WRITE)
        elif self._closing:
            self.close()
        elif self._has_line:
            self._watch(selectors.EVENT_WRITE)  # in the next turn of the loop: others come first
        elif self._ended:
            self.close()
        else:
            self._await_line()

    def _watch(self, events: int) -> None:
        if events == self._watched:
            return
        if not events:
            self._selector.unregister(self._end)
        elif not self._watched:
            self._selector.register(self._end, events, self._turn)
        else:
            self._selector.modify(self._end, events, self._turn)
        self._watched = events
