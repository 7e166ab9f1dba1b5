"""Memory that several processes map: a memfd of fixed size, and a descriptor for it."""

import errno
import fcntl
import mmap
import os
import sys
from typing import Final

MOST_BYTES: Final = 2**63 - 1  # a size of the kernel's (off_t)

_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def create(label: str, size: int) -> int:
    """A descriptor of `size` bytes, all zero (memfd_create(2)); pages take memory once they are written. The size is
    sealed: nobody who has the descriptor can cut off what another has mapped. Raises OSError."""
    if size > MOST_BYTES:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    descriptor = os.memfd_create(label, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, size)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def map_whole(descriptor: int, size: int) -> mmap.mmap:
    """All of it in our address space, until it is closed and nobody looks at it any more. Raises OSError."""
    if sys.version_info >= (3, 13):
        return mmap.mmap(descriptor, size, trackfd=False)  # without a duplicate of the descriptor
    return mmap.mmap(descriptor, size)
