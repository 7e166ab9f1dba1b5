"""Shared memory by name: the same for all processes of a server, from the moment its app is imported."""

from typing import Final

from prefork.children.memory.buffer import SharedBuffer, checked_size
from prefork.errors import ChildError
from prefork.system import named_memory
from prefork.system.named_memory import NoSuchMemory

NAME_BYTES: Final = 100  # the kernel takes 249 for the name of a memfd, and we put ours before it

_buffers: Final[dict[str, SharedBuffer]] = {}


def shared(name: str, size: int) -> SharedBuffer:
    """The memory of that name, `size` bytes: one and the same for all workers of a prefork server, their offloaders,
    forks and actors, and for those of later generations. Ask for it at the top level of a module that the app imports.

    In another program, or under another server, it is memory of this process and what it starts through prefork.
    Raises ChildError where it cannot be had: it was asked for too late, or has another size; ValueError and TypeError
    for a bad name or size, OSError for lack of memory or descriptors.
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of shared memory is a str, not {name!r}")
    if not name or not name.isprintable() or len(name.encode()) > NAME_BYTES:
        raise ValueError(f"the name of shared memory is printable text of 1 to {NAME_BYTES} bytes, not {name!r}")
    size = checked_size(size)
    try:
        region = named_memory.find(name, size)
    except NoSuchMemory as error:
        raise ChildError(str(error)) from None
    buffer = _buffers.get(name)
    if buffer is None or buffer.closed:
        buffer = _buffers[name] = SharedBuffer.of_descriptor(region.descriptor, owned=False)
    return buffer
