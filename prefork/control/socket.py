"""The control socket in the master's loop: who may speak to it, and what becomes of each line."""

import logging
import os
import selectors
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Final, Protocol

from prefork.control import wire
from prefork.control.conversation import Conversation
from prefork.control.later import Later
from prefork.errors import CommandError

CONNECTIONS: Final = 64  # through the listener, at once
ACCEPT_BATCH: Final = 16  # a turn of the loop
HELD_BYTES: Final = 32 * 1024 * 1024  # of answers that were not read yet, of all connections together
RETRY_SECONDS: Final = 1.0  # out of descriptors: to accept again at once would spin

_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid (unix(7), SO_PEERCRED)

_log = logging.getLogger("prefork.control")


class Runner(Protocol):
    """What runs commands: `processes/commands.py`."""

    def run(self, name: str, arguments: Mapping[str, object]) -> object:
        """Run a command of the table, its arguments checked. Returns its result, or a Later. Raises CommandError."""


class ControlServer:
    """Every connection that commands come through, in one selector. It never blocks, and holds a bounded amount."""

    def __init__(
        self, selector: selectors.BaseSelector, commands: Runner, changed: Callable[[], None] = lambda: None
    ) -> None:
        """`changed` is called when `deadlines` has become something else, or a command may have changed something."""
        self._selector = selector
        self._commands = commands
        self._changed = changed
        self._talks: set[Conversation] = set()
        self._listener: socket.socket | None = None
        self._paused_until = 0.0  # monotonic seconds
        self._uids = {0, os.geteuid()}

    def listen(self, listener: socket.socket) -> None:
        """Accept from `listener`, which stays its owner's; only peers of our own user and root are let in."""
        listener.setblocking(False)
        self._listener = listener
        self._selector.register(listener, selectors.EVENT_READ, self._accept)

    def release(self) -> None:
        """Accept no more; connections that are open are served on. The listener is not closed."""
        if self._listener is not None:
            if not self._paused_until:
                self._selector.unregister(self._listener)
            self._listener = None
            self._paused_until = 0.0

    def add(self, end: socket.socket, trusted: bool = True) -> None:
        """Serve a connected socket, which is ours from now on. `trusted`: it is a child's, whose uid is not asked and
        which may be silent for as long as it likes."""
        if not trusted and _peer(end) not in self._uids:
            _say_and_close(end, "only the server's own user and root may speak to it")
            return
        self._talks.add(Conversation(end, trusted, self._selector, self._obey, self._gone, self._changed))
        self._changed()

    def tick(self, now: float) -> None:
        """Cut those whose time is over."""
        for talk in [talk for talk in self._talks if now >= talk.deadline]:
            talk.expire()
        if self._listener is not None and self._paused_until and now >= self._paused_until:
            self._paused_until = 0.0
            self._selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def deadlines(self) -> Iterator[float]:
        """When `tick` has something to do."""
        yield from (talk.deadline for talk in self._talks)
        if self._paused_until:
            yield self._paused_until

    def close(self) -> None:
        """Accept no more, and close every connection."""
        self.release()
        for talk in list(self._talks):
            talk.close()

    def _accept(self) -> None:
        assert self._listener is not None
        for _ in range(ACCEPT_BATCH):
            try:
                end, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                _log.warning("cannot accept on the control socket for now: %s", error.strerror)
                self._selector.unregister(self._listener)
                self._paused_until = time.monotonic() + RETRY_SECONDS
                self._changed()
                return
            if sum(not talk.trusted for talk in self._talks) >= CONNECTIONS:
                _say_and_close(end, f"{CONNECTIONS} others are connected already; try again later")
            else:
                self.add(end, trusted=False)

    def _obey(self, talk: Conversation, line: bytes) -> None:
        try:
            name, arguments = wire.read_request(line)
            result = self._commands.run(name, arguments)
        except CommandError as error:
            result = error
        except Exception:
            _log.exception("a command failed: %.200r", line)
            result = CommandError("the server could not do this; its log says why")
        self._changed()
        if isinstance(result, Later):
            result.then(lambda outcome: self._answer(talk, outcome))
        else:
            self._answer(talk, result)

    def _answer(self, talk: Conversation, result: object) -> None:
        line = wire.answer(result)
        if len(line) + sum(other.held for other in self._talks) > HELD_BYTES:
            line = wire.error("too many answers wait to be read; try again later")
        talk.answer(line)

    def _gone(self, talk: Conversation) -> None:
        self._talks.discard(talk)
        self._changed()


def _peer(end: socket.socket) -> int:
    """The uid of who connected."""
    return int(_CREDENTIALS.unpack(end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))[1])


def _say_and_close(end: socket.socket, words: str) -> None:
    with suppress(OSError):
        end.setblocking(False)
        end.send(wire.error(words))
    end.close()
