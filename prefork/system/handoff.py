"""Pass connections to a worker: descriptors in batches over a one-way SOCK_SEQPACKET pair.

The master keeps a duplicate of the worker's receiving end. What the worker has not read, the master can read: a message
is taken whole by one of them.
"""

import array
import socket
from collections.abc import Sequence
from itertools import zip_longest
from typing import Final, NamedTuple

BATCH: Final = 64  # connections a message
LOST: Final = -1  # in the place of a descriptor that this process had no room for (EMFILE): the kernel has closed it
_ROOM = socket.CMSG_SPACE(BATCH * array.array("i").itemsize)
_LEVEL, _TYPE = socket.SOL_SOCKET, socket.SCM_RIGHTS


class Passed(NamedTuple):
    """A connection on its way: its descriptor, and the index of the listener it came from."""

    descriptor: int
    listener: int


def put(end: socket.socket, connections: Sequence[Passed]) -> bool:
    """Send up to BATCH connections as one message; the caller still owns its copies. False when it could not go."""
    descriptors = array.array("i", [connection.descriptor for connection in connections])
    try:
        end.sendmsg([bytes(connection.listener for connection in connections)], [(_LEVEL, _TYPE, descriptors)])
    except OSError:  # full (EAGAIN), too many in flight (ETOOMANYREFS), or its reader is gone (EPIPE)
        return False
    return True


def take(end: socket.socket) -> list[Passed]:
    """One message's connections, which the caller owns from now on, LOST ones among them; empty when there is none."""
    try:
        listeners, ancillary, _, _ = end.recvmsg(BATCH, _ROOM, socket.MSG_CMSG_CLOEXEC)
    except OSError:
        return []
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if level == _LEVEL and kind == _TYPE:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    return [
        Passed(descriptor, listener) for descriptor, listener in zip_longest(descriptors, listeners, fillvalue=LOST)
    ]
