"""Open files for reading, with no way out of a folder, and without waiting for the disk where that can be known."""

import ctypes
import errno
import os
import struct
from collections.abc import Callable
from functools import cache
from typing import Final

# Non-blocking, or opening a FIFO would wait for its writer; no terminal becomes ours. Regular files do not care.
FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
FOLDER_FLAGS: Final = os.O_PATH | os.O_CLOEXEC | os.O_DIRECTORY

# The path is at fault; anything else (no descriptors left, a broken disk) is the server's.
NO_SUCH_FILE: Final = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO, errno.ENODEV}
    | {errno.EXDEV}  # openat2(2): the path leads out of the folder
)

_OPENAT2: Final = 437  # the same on every architecture Python's Linux wheels exist for
_AT_FDCWD: Final = -100
_NO_MAGICLINKS: Final = 0x02  # linux/openat2.h
_BENEATH: Final = 0x08
_CACHED: Final = 0x20
_HOW_BYTES: Final = 24
_RACES: Final = 16  # renames that may disturb one look-up; the kernel cannot tell then that it stayed below

_SIGNATURE: Final = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t)


def _syscall(library: ctypes.CDLL) -> Callable[..., int]:
    function = library.syscall
    function.restype, function.argtypes = ctypes.c_long, _SIGNATURE
    return function


_waiting: Final = _syscall(ctypes.CDLL(None, use_errno=True))
_at_once: Final = _syscall(ctypes.PyDLL(None, use_errno=True))  # keeps the GIL, which is cheaper


def open_file(path: str | bytes, *, wait: bool) -> int:
    """A descriptor of what stands at `path`, wherever that leads.

    Raises OSError; ValueError for a NUL in the path; BlockingIOError if not `wait` and it is not sure that the kernel
    has the answer in memory.
    """
    if wait:
        return os.open(path, FLAGS)
    return _open(_AT_FDCWD, os.fsencode(path), FLAGS, 0, wait)


def open_folder(path: bytes, *, wait: bool) -> int:
    """A descriptor that names a folder. Raises as `open_file` does."""
    if wait:
        return os.open(path, FOLDER_FLAGS)
    return _open(_AT_FDCWD, path, FOLDER_FLAGS, 0, wait)


def open_below(folder: int, path: bytes, *, wait: bool) -> int:
    """A descriptor of what stands at a relative path without `..` below an open folder.

    Links that stay below the folder are followed; one that leads out, or an absolute one, is an OSError (EXDEV),
    however the tree changes meanwhile (openat2(2), RESOLVE_BENEATH). Before Linux 5.6 no link is followed at all.
    Raises as `open_file` does.
    """
    if can_stay_below:
        return _open(folder, path, FLAGS, _BENEATH | _NO_MAGICLINKS, wait)
    if not wait:
        raise BlockingIOError(errno.EAGAIN, "this kernel cannot tell")
    return _walk(folder, path)


def _open(folder: int, path: bytes, flags: int, resolve: int, wait: bool) -> int:
    if b"\0" in path:
        raise ValueError("embedded null byte")
    if wait:
        call = _waiting
    elif knows_cached:
        call, resolve = _at_once, resolve | _CACHED
    else:
        raise BlockingIOError(errno.EAGAIN, "this kernel cannot tell")
    how = _how(flags, resolve)
    for _ in range(_RACES):
        descriptor = call(_OPENAT2, folder, path, how, _HOW_BYTES)
        if descriptor >= 0:
            return descriptor
        number = ctypes.get_errno()
        if number != errno.EINTR and not (wait and number == errno.EAGAIN):
            break
    raise OSError(number, os.strerror(number), path)


@cache
def _how(flags: int, resolve: int) -> bytes:
    return struct.pack("QQQ", flags, 0, resolve)  # struct open_how: flags, mode, resolve


def _walk(folder: int, path: bytes) -> int:
    """Step by step, refusing links: O_NOFOLLOW speaks of a path's last part only."""
    *folders, name = path.split(b"/")
    at = folder
    try:
        for part in folders:
            below = os.open(part, FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=at)
            if at != folder:
                os.close(at)
            at = below
        return os.open(name, FLAGS | os.O_NOFOLLOW, dir_fd=at)
    finally:
        if at != folder:
            os.close(at)


def _can(resolve: int) -> bool:
    """Whether the kernel has openat2 with these flags, and the container lets us call it."""
    descriptor = _waiting(_OPENAT2, _AT_FDCWD, b"/", _how(FOLDER_FLAGS, resolve), _HOW_BYTES)
    if descriptor >= 0:
        os.close(descriptor)
    return descriptor >= 0 or ctypes.get_errno() not in (errno.ENOSYS, errno.EPERM, errno.EINVAL)


can_stay_below = _can(_NO_MAGICLINKS)  # Linux 5.6
knows_cached = _can(_CACHED)  # Linux 5.12
