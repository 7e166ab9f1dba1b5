"""The watcher: a child of the master that tells it when files of the app change (--reload). It runs no app code."""

import importlib.util
import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

import watchfiles

from prefork.core.watched import Watched
from prefork.messages import Changed
from prefork.processes.child import begin_kept
from prefork.processes.start import WatcherStart
from prefork.system import process
from prefork.system.channel import Channel, ChannelClosed

QUIET_MILLISECONDS: Final = 50  # changes closer than this belong together: an editor saves in several steps
GATHER_MILLISECONDS: Final = 1000  # however many come, they are told of after this
LOOK_MILLISECONDS: Final = 500  # how often we look up when nothing changes

_log = logging.getLogger("prefork.watcher")


def run_watcher(start: WatcherStart, channel: Channel, stacks: int) -> NoReturn:
    """The life of a watcher, in a fresh child of the master. It ends with the master, or when it cannot watch."""
    begin_kept("watcher", start.settings, start.master, stacks, [channel.fileno(), start.log_file.descriptor])
    channel.set_blocking(True)
    watched = Watched(start.folders, start.settings.reload_include, start.settings.reload_exclude)
    try:
        for paths in changes(start.folders, watched, start.since):
            forget_bytecode(paths)
            first, *others = sorted(paths)
            channel.send(Changed(os.path.relpath(first), len(others)))
    except ChannelClosed:
        process.leave(0)
    except (OSError, RuntimeError) as error:  # a folder is gone, or the limit on inotify watches is reached
        _log.error("cannot watch %s: %s", ", ".join(start.folders), error)
    process.leave(1)


def changes(folders: list[str], watched: Watched, since: float) -> Iterator[set[str]]:
    """Each batch of watched files that changed, from `since` on (seconds of the epoch). Raises OSError, RuntimeError.

    What changed before we were there to see it is told by the files' own times; a file that was deleted then is not.
    """
    places = [_identity(folder) for folder in folders]
    batches = watchfiles.watch(
        *folders,
        watch_filter=lambda _, path: watched(path),
        debounce=GATHER_MILLISECONDS,
        step=QUIET_MILLISECONDS,
        rust_timeout=LOOK_MILLISECONDS,
        yield_on_timeout=True,
        ignore_permission_denied=True,  # what we may not read, the app does not import
    )
    missed: set[str] | None = None
    for batch in batches:
        paths = {path for _, path in batch}
        if missed is None:
            missed = {path for folder in folders for path in _changed_since(folder, watched, since)}
            paths |= missed
            _log.info("watching %s", ", ".join(map(os.path.relpath, folders)))
        if paths:
            yield paths
        if places != [_identity(folder) for folder in folders]:
            raise FileNotFoundError("the folder was moved away or replaced")


def forget_bytecode(paths: set[str]) -> None:
    """Python takes bytecode for fresh by the second and the size of its source: two edits can look like one."""
    for path in paths:
        if path.endswith(".py"):
            with suppress(OSError):
                os.unlink(importlib.util.cache_from_source(path))


def _identity(folder: str) -> tuple[int, int]:
    found = os.stat(folder)
    return found.st_dev, found.st_ino


def _changed_since(folder: str, watched: Watched, since: float) -> Iterator[str]:
    """The watched files whose inode changed later: a file that was moved here keeps the time of its contents."""
    for root, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(root, name)
            try:
                if watched(path) and Path(path).stat().st_ctime > since:
                    yield path
            except OSError:
                pass  # gone again, or a link that leads nowhere
