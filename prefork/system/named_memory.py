"""Memory by name, as this process knows it: what it has inherited, or asked for; and whom to ask."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from prefork.system import memory


@dataclass(frozen=True, slots=True)
class Region:
    """Memory with a name. The descriptor stays open as long as this process lives."""

    name: str
    size: int  # bytes
    descriptor: int


class NoSuchMemory(Exception):
    """A name cannot be had here: says why."""


Source = Callable[[str, int], int]  # gives a descriptor for a name and its size; raises NoSuchMemory, OSError

_known: Final[dict[str, Region]] = {}


def create(name: str, size: int) -> int:
    """Where nobody is there to ask: memory of our own."""
    return memory.create(f"prefork-{name}", size)


def refuse(name: str, size: int) -> int:
    """Where it is too late to ask."""
    raise NoSuchMemory(
        f"shared memory {name!r} is not known in this process: ask for it at the top level of a module that the app "
        "imports, so that all processes have it from the start"
    )


_source: Source = create


def ask_from_now_on(source: Source) -> None:
    """What is not known is asked for there, here and in what is forked from here."""
    global _source
    _source = source


def find(name: str, size: int) -> Region:
    """The memory of that name; of fresh memory, every byte is zero. Raises NoSuchMemory when it cannot be had, or has
    another size; OSError."""
    region = _known.get(name)
    if region is None:
        region = Region(name, size, _source(name, size))
        _known[name] = region
    elif region.size != size:
        raise NoSuchMemory(words_on_sizes(name, region.size, size))
    return region


def learn(name: str, size: int, descriptor: int) -> None:
    """Know of memory that somebody else has asked for; nothing if we do. The descriptor stays the caller's."""
    if name not in _known:
        _known[name] = Region(name, size, os.dup(descriptor))


def inherit(regions: Sequence[Region]) -> None:
    """In a new interpreter: know what the process that started us knew, whose descriptors we have been given. Others
    are refused: what we would make is not what they have."""
    for region in regions:
        os.set_inheritable(region.descriptor, False)
        _known[region.name] = region
    ask_from_now_on(refuse)


def known() -> Sequence[Region]:
    """All that this process knows."""
    return list(_known.values())


def words_on_sizes(name: str, size: int, asked: int) -> str:
    """Why memory of another size cannot be had under a name."""
    return f"shared memory {name!r} has {size} bytes, and {asked} were asked for: all must ask for the same"
