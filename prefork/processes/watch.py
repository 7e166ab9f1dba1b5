"""The master's side of the watcher: keeping one alive, and hearing what it sees (--reload)."""

import importlib.util
import os
import selectors
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Final, NoReturn

from prefork.core.watched import Watched
from prefork.errors import UsageError
from prefork.messages import Changed, Message
from prefork.processes.child import Become
from prefork.processes.kept import Kept
from prefork.processes.stacks import StacksLog
from prefork.settings import Settings
from prefork.system.channel import Channel

DRAIN_SECONDS: Final = 1.0  # enough for most requests, and not long to wait for a stream that the browser opens anew


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


class Watch(Kept):
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
        super().__init__("watcher", selector, stacks, wanted)
        self._become = become
        self._changed = changed
        self._since = time.time()  # what changed later is news

    def _preparing(self) -> AbstractContextManager[Become]:
        return nullcontext(partial(self._become, self._since))

    def _hear(self, message: Message) -> None:
        if isinstance(message, Changed):
            self._since = time.time()
            self._changed(message)
