"""A child that the master forks itself and keeps alive: the watcher, the admin."""

import logging
import selectors
import signal
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from math import inf

from prefork.control.happened import happened
from prefork.core.backoff import Backoff
from prefork.messages import Message
from prefork.processes.child import Become, fork_child
from prefork.processes.stacks import StacksLog, StacksPipe
from prefork.system import process
from prefork.system.channel import Channel, ChannelClosed

_log = logging.getLogger("prefork.kept")


class Kept(ABC):
    """Keeps one alive as long as it is wanted. Who inherits says what the child does, and hears what it tells."""

    def __init__(
        self, role: str, selector: selectors.BaseSelector, stacks: StacksLog, wanted: bool, end_seconds: float = 0.0
    ) -> None:
        """At its end the child's channel is closed, and `end_seconds` later the child is killed."""
        self._role = role
        self._selector = selector
        self._stacks = stacks
        self._wanted = wanted
        self._end_seconds = end_seconds
        self._child: tuple[int, Channel, StacksPipe] | None = None
        self._backoff = Backoff()
        self._begun = 0.0  # monotonic seconds
        self._kill_at = inf

    @abstractmethod
    def _preparing(self) -> AbstractContextManager[Become]:
        """What the next child runs. The context ends when it is forked, and closes what only the child needs."""

    @abstractmethod
    def _hear(self, message: Message) -> None:
        """It says something."""

    def __bool__(self) -> bool:
        """Whether there is one."""
        return self._child is not None

    @property
    def pid(self) -> int | None:
        return None if self._child is None else self._child[0]

    def tend(self, now: float) -> None:
        """Have one if it is wanted, and none that was to end by now."""
        if now >= self._kill_at:
            self._kill_at = inf
            process.send_signal(self.pid, signal.SIGKILL)
        if not self._wanted or self._child is not None or now < self._backoff.not_before:
            return
        try:
            with self._preparing() as become:
                self._child = pid, channel, pipe = fork_child(become)
        except OSError as error:
            _log.error("cannot fork the %s: %s", self._role, error.strerror)
            self._backoff.died(None, now)
            return
        self._begun = now
        self._selector.register(channel, selectors.EVENT_READ, self._listen)
        self._stacks.watch(pipe, f"{self._role} (pid {pid})")

    def deadlines(self, now: float) -> Iterator[float]:
        """When `tend` could next have something to do, should nothing happen before."""
        if self._wanted and self._child is None:
            yield max(now, self._backoff.not_before)
        if self._kill_at < inf:
            yield self._kill_at

    def reaped(self, pid: int, status: int, now: float) -> bool:
        """A child has ended. Returns whether it was this one."""
        if self._child is None or self._child[0] != pid:
            return False
        self._listen()  # what it said last
        _, channel, pipe = self._child
        self._child = None
        self._kill_at = inf
        self._unregister(channel)
        channel.close()
        self._stacks.forget(pipe)
        if self._wanted:
            delay = self._backoff.died(now - self._begun, now)
            again = f"in {delay:.1f} s" if delay else "now"
            words = process.exit_words(status)
            _log.error(
                "%s (pid %d) died: %s; the next one starts %s",
                self._role,
                pid,
                words,
                again,
                extra=happened("died"),
            )
        return True

    def end(self, now: float) -> None:
        """Want none any more."""
        if not self._wanted:
            return
        self._wanted = False
        if self._child is not None:
            self._unregister(self._child[1])
            self._child[1].close()
            self._kill_at = now + self._end_seconds
            self.tend(now)

    def tell(self, message: Message) -> None:
        """Send it a message, if there is one."""
        if self._child is not None and self._wanted:
            self._child[1].tell(message)

    def _listen(self) -> None:
        if self._child is None or not self._wanted:
            return
        channel = self._child[1]
        try:
            while received := channel.receive():
                self._hear(received[0])
        except (ChannelClosed, ValueError):
            self._unregister(channel)  # death is told by waitpid

    def _unregister(self, channel: Channel) -> None:
        if channel.fileno() >= 0 and channel in self._selector.get_map():
            self._selector.unregister(channel)
