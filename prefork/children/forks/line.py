"""One end of what connects a parent and the child it has forked. Nothing here waits: full and empty are answers.

Packets go through a SOCK_SEQPACKET pair, whose queue is the only one: what nobody receives stays there, and the kernel
takes no more from twice SEND_BYTES up (it counts 770 bytes for the smallest). What it does not count, shared memory
and descriptors, we do: so much of it may be under way until the receiver says, through a second pair, that it has taken
it.
"""

import errno
import pickle
import select
import socket
import struct
from contextlib import suppress
from typing import Any, Final

from prefork.children.forks import packets
from prefork.children.forks.packets import Codec, Lost, Packet
from prefork.errors import ChildError
from prefork.jobs.failures import Failure

SEND_BYTES: Final = 128 * 1024  # SO_SNDBUF, which the kernel doubles (socket(7)): some 340 of the smallest messages
HEAVY_PACKETS: Final = 16  # with shared memory or descriptors, under way
HEAVY_BYTES: Final = 64 * 1024 * 1024  # of shared memory under way; a larger message goes alone
FAILURE_BYTES: Final = 48 * 1024  # of an exception on its way; what is longer loses its beginning

_NOW: Final = int(socket.MSG_DONTWAIT)
_RELEASED: Final = struct.Struct("<BQ")  # kind, bytes
_TAKEN, _FAILED, _LEFT = 1, 2, 3  # kinds of what goes through the second pair
_PLAIN: Final = bytes((packets.MESSAGE, 0, 0, 0))  # how a message begins that is in the packet as a whole
_CLOSED: Final = (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN)


class Line:
    """Owns both sockets of its end."""

    def __init__(self, end: socket.socket, side: socket.socket, codec: Codec, most: int) -> None:
        """Messages are encoded by `codec`, and have at most `most` bytes."""
        self.end = end
        self.side = side
        self.codec: Codec = codec
        self.failure: Failure | None = None  # what the other side has raised
        self._most = most
        self._rooms: list[bytearray] = []  # to read into: threads may read beside an event loop, each has its own
        self._under_way = 0  # heavy packets that were sent and not taken
        self._bytes_under_way = 0
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)

    def pack(self, value: Any, fds: packets.Attached = ()) -> Packet:
        """A message. Raises Unsendable."""
        return packets.pack(packets.MESSAGE, value, self.codec, fds, self._most)

    def offer(self, packet: Packet) -> bool:
        """Send a packet. False when the other side has too much before it already. Raises BrokenPipeError when there is
        nobody (any more), ChildError when the system lacks what it takes."""
        if packet.heavy and not self.has_room(packet):
            return False
        try:
            if packet.unfilled:
                packet.fill()
            packet.send(self.end)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in _CLOSED:
                raise BrokenPipeError(error.errno, error.strerror) from None
            raise ChildError(f"a message could not be sent: {error.strerror or error}") from error
        if packet.heavy:
            self._under_way += 1
            self._bytes_under_way += packet.weight
        return True

    def waits_for(self, packet: Packet) -> tuple[int, int]:
        """When to offer it again: a descriptor, and the event to poll it for."""
        if packet.heavy and not self._fits(packet):
            return self.side.fileno(), select.POLLIN
        return self.end.fileno(), select.POLLOUT

    def take(self, flags: int = _NOW) -> tuple[int, Any]:
        """The next packet: its kind and value. Raises BlockingIOError when there is none, EOFError at the end, and
        ChildError for one whose value cannot be made anew here: it is gone then."""
        try:
            room = self._rooms.pop()
        except IndexError:
            room = bytearray(packets.PACKET_BYTES)
        try:
            return self._take(room, flags)
        finally:
            self._rooms.append(room)

    def _take(self, room: bytearray, flags: int) -> tuple[int, Any]:
        while True:
            try:
                length, ancillary, _, _ = self.end.recvmsg_into([room], packets.ROOM, packets.CLOEXEC | flags)
                if length and room.startswith(_PLAIN):  # most of them, and quickly
                    return packets.MESSAGE, packets.make(memoryview(room)[packets.HEADER.size : length], self.codec)
                arrived = packets.parse(length, ancillary, room)
            except ConnectionResetError:  # told once: the other side did not read all that we sent, and is gone
                continue
            except Lost as lost:
                self.release(lost.weight)
                raise
            if arrived.heavy:
                self.release(arrived.weight)
            codec = self.codec if arrived.kind == packets.MESSAGE else "pickle"
            return arrived.kind, arrived.value(codec)

    @property
    def unread(self) -> bool:
        """Whether a packet waits to be taken."""
        while True:
            try:
                return bool(self.end.recv(1, _NOW | socket.MSG_PEEK))
            except BlockingIOError:
                return False
            except ConnectionResetError:  # as in `take`
                continue

    def hear(self) -> None:
        """Read what came through the second pair. Raises BrokenPipeError at its end."""
        while True:
            try:
                said = self.side.recv(FAILURE_BYTES * 2, _NOW)
            except BlockingIOError:
                return
            except ConnectionResetError:
                continue
            if not said:
                raise BrokenPipeError(errno.EPIPE, "the other side is gone")
            if said[0] == _TAKEN:
                self._under_way -= 1
                self._bytes_under_way -= _RELEASED.unpack(said)[1]
            elif said[0] == _LEFT:
                self._under_way = self._bytes_under_way = 0  # there is room, and nobody: whoever sends will see that
            else:
                self.failure = Failure(*pickle.loads(said[1:]))

    def fail(self, failure: Failure) -> None:
        """Tell the other side what was raised here; it hears that before it reads what was sent earlier."""
        for told in (failure, _shorten(failure)):
            said = bytes([_FAILED]) + pickle.dumps(tuple(told))
            if len(said) <= FAILURE_BYTES:
                with suppress(OSError):  # it is gone
                    self.side.send(said, _NOW)
                return

    def release(self, weight: int) -> None:
        """Tell the other side that a heavy packet was taken."""
        with suppress(OSError):  # it is gone
            self.side.send(_RELEASED.pack(_TAKEN, weight), _NOW)

    def hang_up(self, how: int = socket.SHUT_RDWR) -> None:
        """Send and receive no more (shutdown(2)); what was sent before can still be received, on both sides."""
        with suppress(OSError):  # it is closed
            self.end.shutdown(how)
            if how == socket.SHUT_RDWR:
                # On both sides, who waits there until more was taken is told, too. We may still tell what was raised.
                self.side.send(bytes([_LEFT]), _NOW)
                self.side.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        self.end.close()
        self.side.close()

    def has_room(self, packet: Packet) -> bool:
        """Whether so much more may be under way. Raises BrokenPipeError when there is nobody."""
        if self._under_way:
            self.hear()
        return self._fits(packet)

    def _fits(self, packet: Packet) -> bool:
        if self._under_way >= HEAVY_PACKETS:
            return False
        return not self._bytes_under_way or self._bytes_under_way + packet.weight <= HEAVY_BYTES


def _shorten(failure: Failure) -> Failure:
    """One that fits, without its object."""
    return Failure(b"", failure.words[:1000], "…" + failure.traceback[-8 * 1024 :])
