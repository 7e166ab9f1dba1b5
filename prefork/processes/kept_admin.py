"""The master's side of the admin: its listeners, and keeping it alive (--admin)."""

import logging
import os
import selectors
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Final, NoReturn

from prefork.control.history import bytes_needed
from prefork.control.socket import ControlServer
from prefork.errors import BindError
from prefork.messages import LookAgain, Message
from prefork.processes.child import Become
from prefork.processes.kept import Kept
from prefork.processes.stacks import StacksLog
from prefork.processes.start import AdminStart
from prefork.processes.takeover import Predecessor
from prefork.settings import Settings, parse_admin
from prefork.system import ring
from prefork.system.channel import Channel
from prefork.system.listeners import Listener, canonical, open_listeners
from prefork.system.log import LogFile

BACKLOG: Final = 128
END_SECONDS: Final = 3.0  # for open requests and the interpreter's end
LINES: Final = 4  # to the control server: one for the polls, the others for commands, some of which wait for workers

_log = logging.getLogger("prefork.admin")


def open_admin(settings: Settings, predecessor: Predecessor | None, beside: Sequence[Listener]) -> list[Listener]:
    """The admin's listeners; none when it is not wanted. Raises BindError; nothing stays then, nor of `beside`."""
    if settings.admin is None:
        return []
    binds = [canonical(parse_admin(settings.admin))]
    try:
        if predecessor is None:
            return open_listeners(binds, BACKLOG, False)
        return open_listeners(binds, BACKLOG, False, left=predecessor.left_to_operators)
    except BindError as error:
        for listener in beside:
            listener.unlink()
            listener.close()
        raise BindError(f"--admin {settings.admin}: {error}") from None


class KeptAdmin(Kept):
    """Keeps an admin alive. Its listeners and its samples are the master's: the next one goes on with both."""

    def __init__(
        self,
        settings: Settings,
        listeners: Sequence[Listener],
        selector: selectors.BaseSelector,
        stacks: StacksLog,
        control: ControlServer,
        log_file: LogFile,
        ledger: int | None,
        workers: int,
        state: Callable[[], object],
    ) -> None:
        """None is wanted before `begin`. `state()` is another whenever probes may have to answer otherwise. Raises
        OSError."""
        super().__init__("admin", selector, stacks, False, END_SECONDS)
        self._master = os.getpid()
        self._settings = settings
        self._listeners = listeners
        self._control = control
        self._log_file = log_file
        self._ledger = ledger
        self._history = ring.create(bytes_needed(workers)) if listeners else None
        self._state = state
        self._told: object = None

    @property
    def address(self) -> str | None:
        """Where it listens, in words for people."""
        return ", ".join(listener.name for listener in self._listeners) or None

    def begin(self) -> None:
        """It is our turn to have one, if one is wanted."""
        self._wanted = bool(self._listeners)
        if self._wanted:
            _log.info("admin server on %s", self.address)

    def hand_over(self) -> None:
        """Another master has one from now on, and the listeners."""
        self.end(time.monotonic())
        for listener in self._listeners:
            listener.close()
        self._listeners = ()

    def tend(self, now: float) -> None:
        state = self._state()
        if state != self._told:
            self._told = state
            self.tell(LookAgain())
        super().tend(now)

    def close(self) -> None:
        """It has ended: so do its addresses and samples."""
        for listener in self._listeners:
            listener.unlink()
            listener.close()
        if self._history is not None:
            os.close(self._history)

    @contextmanager
    def _preparing(self) -> Iterator[Become]:
        with ExitStack() as ours:
            ends = []
            for _ in range(LINES):
                end, other = socket.socketpair()
                ends.append(ours.enter_context(other))
                self._control.add(end, trusted=True)
            yield partial(self._become, ends)

    def _become(self, ends: Sequence[socket.socket], channel: Channel, stacks: int) -> NoReturn:
        from prefork.processes.admin import run_admin  # in the child: it holds the event loop, and our HTTP

        assert self._history is not None
        start = AdminStart(
            self._settings, self._listeners, ends, self._master, self._log_file, self._ledger, self._history
        )
        run_admin(start, channel, stacks)

    def _hear(self, message: Message) -> None:
        """It has nothing to say."""
