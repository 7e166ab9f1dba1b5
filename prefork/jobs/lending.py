"""Descriptors that travel beside a pickle: what an object needs that cannot be copied, such as shared memory.

While something is pickled, its `__reduce__` may `lend` a descriptor and put the index it gets into the pickle. Whoever
sends the pickle attaches the descriptors (SCM_RIGHTS, unix(7)); on the other side `take` gives them by index.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import local
from typing import Final

from prefork.errors import Unsendable

MOST: Final = 32  # descriptors beside one pickle; the kernel allows 253 in all


class _Thread(local):
    lent: list[int] | None = None
    arrived: dict[int, int] | None = None  # descriptor by index


here: Final = _Thread()  # `payload.encode` sets `lent` as `lending` does, where a microsecond counts


@contextmanager
def lending() -> Iterator[list[int]]:
    """Within it, what is pickled in this thread may lend descriptors: they are in the list, and stay their owners'."""
    lent: list[int] = []
    outer, here.lent = here.lent, lent
    try:
        yield lent
    finally:
        here.lent = outer


class Lent:
    """Duplicates of lent descriptors: good until they are sent, whatever their owners do. Closed with this object."""

    def __init__(self, descriptors: Iterable[int]) -> None:
        """Raises OSError when there are too many open files."""
        self.descriptors: list[int] = []
        for descriptor in descriptors:
            self.descriptors.append(os.dup(descriptor))

    def __del__(self) -> None:
        for descriptor in self.descriptors:
            os.close(descriptor)


def lend(descriptor: int) -> int:
    """The index of a descriptor among those that travel; called while something is pickled. Raises Unsendable when
    this pickle's way cannot carry any, or not so many."""
    lent = here.lent
    if lent is None:
        raise Unsendable("shared memory goes only where its descriptor can: to jobs, forks and actors of this machine")
    if descriptor in lent:
        return lent.index(descriptor)
    if len(lent) >= MOST:
        raise Unsendable(f"a message carries at most {MOST} descriptors")
    lent.append(descriptor)
    return len(lent) - 1


@contextmanager
def arriving(descriptors: list[int]) -> Iterator[None]:
    """Within it, what is made anew in this thread may take these descriptors. They are closed at the end."""
    outer, here.arrived = here.arrived, dict(enumerate(descriptors))
    try:
        yield
    finally:
        for descriptor in here.arrived.values():
            os.close(descriptor)
        here.arrived = outer


def take(index: int) -> int:
    """A descriptor that has arrived; a duplicate, which the caller owns. Raises OSError when
    it has not arrived: this process had no room for it."""
    arrived = here.arrived
    if arrived is None or index not in arrived:
        raise OSError("a descriptor did not arrive: too many open files")
    return os.dup(arrived[index])
