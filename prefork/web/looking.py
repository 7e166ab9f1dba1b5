"""Look files up for a response: on the event loop when that takes no time, else in the thread pool."""

import os
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

from prefork.system.open_file import OpenFile
from prefork.system.opening import NO_SUCH_FILE, open_below, open_file, open_folder
from prefork.web.threads import in_thread

T = TypeVar("T")


async def without_waiting(look: Callable[[bool], T]) -> T:
    """What `look(wait)` returns: tried on the loop without waiting; if that raises BlockingIOError, again in a thread.

    A file that is asked for often is in the kernel's memory, and a thread costs more than all there is to do.
    """
    try:
        return look(False)
    except BlockingIOError:
        pass  # and out of here, or it would stand in the traceback of whatever the thread raises
    return await in_thread(look, True)


def open_regular(path: str, *, wait: bool) -> OpenFile | None:
    """The regular file that a path leads to, if it does. Raises BlockingIOError as `open_file` does."""
    file = _opened(lambda: open_file(path, wait=wait))
    return file if file is not None and file.is_regular else None


class Tree:
    """An open folder, and what is below it. Raises BlockingIOError as `open_folder` does, OSError if there is none."""

    __slots__ = ("_folder", "_wait")

    def __init__(self, folder: bytes, *, wait: bool) -> None:
        self._wait = wait
        self._folder = open_folder(folder, wait=wait)

    def __enter__(self) -> "Tree":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._folder)

    def open(self, path: bytes) -> OpenFile | None:
        """What a relative path leads to, if that is below the folder."""
        return _opened(lambda: open_below(self._folder, path, wait=self._wait))

    def open_regular(self, path: bytes) -> OpenFile | None:
        """The same, if it is a regular file."""
        file = self.open(path)
        return file if file is not None and file.is_regular else None


def _opened(opened: Callable[[], int]) -> OpenFile | None:
    try:
        return OpenFile(opened())
    except ValueError:  # a NUL in the path, or a name that the file system cannot spell
        return None
    except OSError as error:
        if error.errno in NO_SUCH_FILE:
            return None
        raise
