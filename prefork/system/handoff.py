"""Pass connections to a worker: descriptors in batches over a one-way SOCK_SEQPACKET pair.

The master keeps a duplicate of the worker's receiving end. What the worker has not read, the master can read: a message
is taken whole by one of them.
"""

import array
import socket
from collections.abc import Sequence
from typing import Final, NamedTuple

BATCH: Final = 64  # connections a message
UNKNOWN: Final = 0.0  # in the place of a time
LOST: Final = -1  # in the place of a descriptor that this process had no room for (EMFILE): the kernel has closed it
_ROOM = socket.CMSG_SPACE(BATCH * array.array("i").itemsize)
_TIME_BYTES = array.array("d").itemsize
_LEVEL, _TYPE = socket.SOL_SOCKET, socket.SCM_RIGHTS


class Passed(NamedTuple):
    """A connection on its way: its descriptor, the index of the listener it came from, and when it was accepted
    (monotonic seconds; UNKNOWN: it has had requests already)."""

    descriptor: int
    listener: int
    accepted_at: float = UNKNOWN


def put(end: socket.socket, connections: Sequence[Passed]) -> bool:
    """Send up to BATCH connections as one message; the caller still owns its copies. False when it could not go."""
    descriptors = array.array("i", [connection.descriptor for connection in connections])
    times = array.array("d", [connection.accepted_at for connection in connections])
    listeners = bytes(connection.listener for connection in connections)
    try:
        end.sendmsg([times, listeners], [(_LEVEL, _TYPE, descriptors)])
    except OSError:  # full (EAGAIN), too many in flight (ETOOMANYREFS), or its reader is gone (EPIPE)
        return False
    return True


def take(end: socket.socket) -> list[Passed]:
    """One message's connections, which the caller owns from now on, LOST ones among them; empty when there is none."""
    try:
        message, ancillary, _, _ = end.recvmsg(BATCH * (_TIME_BYTES + 1), _ROOM, socket.MSG_CMSG_CLOEXEC)
    except OSError:
        return []
    count = len(message) // (_TIME_BYTES + 1)
    times = array.array("d", message[: count * _TIME_BYTES])
    listeners = message[count * _TIME_BYTES :]
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if level == _LEVEL and kind == _TYPE:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    descriptors.extend([LOST] * (count - len(descriptors)))
    return [Passed(*passed) for passed in zip(descriptors, listeners, times, strict=True)]
