"""The master's side of the watcher: keeping one alive, and hearing what it sees (--reload)."""

import importlib.util
import logging
import os
import selectors
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, NoReturn

from prefork.core.backoff import Backoff
from prefork.core.watched import Watched
from prefork.errors import UsageError
from prefork.messages import Changed
from prefork.processes.child import fork_child
from prefork.processes.stacks import StacksLog, StacksPipe
from prefork.settings import Settings
from prefork.system import process
from prefork.system.channel import Channel, ChannelClosed

DRAIN_SECONDS: Final = 1.0  # enough for most requests, and not long to wait for a stream that the browser opens anew

_log = logging.getLogger("prefork.watch")


def drain_seconds(settings: Settings) -> float:
    """How long workers of older code may finish what is open; with --reload streams are soon to come to the new."""
    return min(settings.drain_seconds, DRAIN_SECONDS) if settings.reload else settings.drain_seconds


def watched_folders(settings: Settings) -> list[str]:
    """Where the app's files are, as absolute paths."""
    return [os.path.abspath(folder) for folder in settings.reload_dir or [settings.app_dir]]


def check_watch(settings: Settings) -> None:
    """Raises UsageError when --reload cannot work."""
    if importlib.util.find_spec("watchfiles") is None:  # found, not imported: the master loads no such thing
        raise UsageError("--reload needs watchfiles: pip install prefork[standard]")
    folders = watched_folders(settings)
    for folder in folders:
        if not os.path.isdir(folder):
            flag = "--reload-dir" if settings.reload_dir else "--app-dir"
            raise UsageError(f"{flag} {folder}: there is no such folder to watch")
    for flag, globs in (("--reload-include", settings.reload_include), ("--reload-exclude", settings.reload_exclude)):
        try:
            Watched(folders, include=globs)
        except ValueError as error:
            raise UsageError(f"{flag} {error}") from None


class Watch:
    """Keeps a watcher alive as long as it is wanted."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        stacks: StacksLog,
        wanted: bool,
        become: Callable[[float, Channel, int], NoReturn],
        changed: Callable[[Changed], None],
    ) -> None:
        """`become(since, channel, stacks)` runs in the child; `since` is in seconds of the epoch. `changed` gets the
        news."""
        self._selector = selector
        self._stacks = stacks
        self._wanted = wanted
        self._become = become
        self._changed = changed
        self._watcher: tuple[int, Channel, StacksPipe] | None = None
        self._backoff = Backoff()
        self._begun = 0.0  # monotonic seconds
        self._since = time.time()  # what changed later is news

    def __bool__(self) -> bool:
        """Whether there is a watcher."""
        return self._watcher is not None

    def tend(self, now: float) -> None:
        """Have a watcher if one is wanted."""
        if not self._wanted or self._watcher is not None or now < self._backoff.not_before:
            return
        try:
            self._watcher = pid, channel, pipe = fork_child(partial(self._become, self._since))
        except OSError as error:
            _log.error("cannot fork a watcher: %s", error.strerror)
            self._backoff.died(None, now)
            return
        self._begun = now
        self._selector.register(channel, selectors.EVENT_READ, self._listen)
        self._stacks.watch(pipe, f"watcher (pid {pid})")

    def deadlines(self, now: float) -> Iterator[float]:
        """When `tend` could next have something to do, should nothing happen before."""
        if self._wanted and self._watcher is None:
            yield max(now, self._backoff.not_before)

    def reaped(self, pid: int, status: int, now: float) -> bool:
        """A child has ended. Returns whether it was the watcher."""
        if self._watcher is None or self._watcher[0] != pid:
            return False
        self._listen()  # what it said last
        _, channel, pipe = self._watcher
        self._watcher = None
        self._unregister(channel)
        channel.close()
        self._stacks.forget(pipe)
        if self._wanted:
            delay = self._backoff.died(now - self._begun, now)
            again = f"in {delay:.1f} s" if delay else "now"
            _log.error("watcher (pid %d) died: %s; the next one starts %s", pid, process.exit_words(status), again)
        return True

    def end(self) -> None:
        """Want no watcher any more."""
        self._wanted = False
        if self._watcher is not None:
            process.send_signal(self._watcher[0], signal.SIGKILL)

    def _listen(self) -> None:
        if self._watcher is None:
            return
        _, channel, _ = self._watcher
        try:
            while received := channel.receive():
                if isinstance(received[0], Changed) and self._wanted:
                    self._since = time.time()
                    self._changed(received[0])
        except (ChannelClosed, ValueError):
            self._unregister(channel)  # death is told by waitpid

    def _unregister(self, channel: Channel) -> None:
        if channel in self._selector.get_map():
            self._selector.unregister(channel)
