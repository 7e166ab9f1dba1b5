"""What worker and offloader say to each other: one SOCK_SEQPACKET message each (unix(7)), so bounds need no lengths.

A message is a header, then a pickle. If the payload is big, the message has only its header: the sender has written
the payload to its arena, a memfd that it sends along (SCM_RIGHTS) with the first message that refers to it. Behind that
descriptor come those that the payload itself has lent (`lending`).
"""

import array
import socket
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from prefork.jobs.lending import MOST
from prefork.jobs.payload import BIG_BYTES

MESSAGE_BYTES: Final = BIG_BYTES + 64
HEADER: Final = struct.Struct("<BBxxIQdQ")  # kind, flags, buffers, number, seconds, bytes in the arena

_LEVEL, _TYPE = socket.SOL_SOCKET, socket.SCM_RIGHTS
_DESCRIPTOR_BYTES: Final = array.array("i").itemsize
_ROOM: Final = socket.CMSG_SPACE((1 + MOST) * _DESCRIPTOR_BYTES)
_CLOEXEC: Final = int(socket.MSG_CMSG_CLOEXEC)
NOW: Final = int(socket.MSG_DONTWAIT)  # a flag for `receive`


# Kinds of messages. Plain numbers: an enum's members cost a call each, and these are asked for several times a job.
JOB: Final = 1  # worker → offloader: run this
READ: Final = 2  # worker → offloader: I have read so many (`number`) of your messages that were in an arena
READY: Final = 3  # offloader → worker: the start hooks ran
NOT_READY: Final = 4  # offloader → worker: they did not; the payload is a traceback
PROGRESS: Final = 5  # offloader → worker: (fraction, note)
ITEM: Final = 6  # offloader → worker: of a stream
RESULT: Final = 7  # offloader → worker: the job's last word, as is
ERROR: Final = 8  # offloader → worker: the last word too

# Flags.
IN_ARENA: Final = 1  # the payload is in the sender's arena
NEW_ARENA: Final = 2  # whose descriptor comes with this message
KEPT: Final = 4  # the job still refers to its arguments in your arena: do not write it again
LEAVING: Final = 8  # this offloader ends now: it has run enough jobs, or holds too much memory
LENT: Final = 16  # the payload has lent descriptors, which come with this message


class Header(NamedTuple):
    """The fixed part of a message. `seconds`: how long the job ran."""

    kind: int
    flags: int
    buffers: int
    number: int
    seconds: float
    arena_bytes: int


def send(end: socket.socket, message: bytes, descriptors: Sequence[int] = ()) -> None:
    """Send a message, with descriptors if some are given. Raises OSError."""
    if descriptors:
        end.sendmsg([message], [(_LEVEL, _TYPE, array.array("i", descriptors))])
    else:
        end.send(message)


def receive(end: socket.socket, room: bytearray, flags: int = 0) -> tuple[int, list[int]]:
    """Read a message into `room` (MESSAGE_BYTES long). Returns its length, 0 at the end, and the descriptors it
    brought: fewer than were sent where this process may not open so many. Raises OSError, BlockingIOError among them.
    """
    length, ancillary, _, _ = end.recvmsg_into([room], _ROOM, _CLOEXEC | flags)
    descriptors: list[int] = []
    if ancillary:
        for level, kind, data in ancillary:
            if level == _LEVEL and kind == _TYPE:
                descriptors += array.array("i", data[: len(data) - len(data) % _DESCRIPTOR_BYTES])
    return length, descriptors


def split(header: Header, descriptors: list[int]) -> tuple[int | None, list[int]]:
    """The arena's descriptor, if it has come, and those that the payload has lent."""
    if header.flags & NEW_ARENA and descriptors:
        return descriptors[0], descriptors[1:]
    return None, descriptors
