"""Messages with descriptors between two processes, over a pair of SOCK_SEQPACKET sockets (unix(7))."""

import contextlib
import os
import socket
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from prefork.messages import Message, decode, encode

WIRE_BYTES: Final = 128 * 1024
DESCRIPTORS: Final = 250  # a message; the kernel's SCM_MAX_FD is 253


class ChannelClosed(Exception):
    """The other end is gone."""


class Channel:
    """One end. Never blocks unless told to; a message arrives whole or not at all."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._put_back: deque[tuple[Message, list[int]]] = deque()

    @classmethod
    def pair(cls) -> tuple["Channel", "Channel"]:
        ours, theirs = seqpacket_pair()
        return cls(ours), cls(theirs)

    @classmethod
    def from_descriptor(cls, descriptor: int) -> "Channel":
        return cls(adopt(descriptor))

    def fileno(self) -> int:
        return self._socket.fileno()

    def set_blocking(self, blocking: bool) -> None:
        self._socket.setblocking(blocking)

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> bool:
        """Send a message; the receiver gets duplicates of `descriptors`. False when its queue is full.
        Raises ChannelClosed."""
        try:
            socket.send_fds(self._socket, [encode(message)], descriptors)
        except BlockingIOError:
            return False
        except OSError as error:
            raise ChannelClosed(str(error)) from error
        return True

    def tell(self, message: Message) -> None:
        """Send a message to one who may be dying; that it is gone is told elsewhere."""
        with contextlib.suppress(ChannelClosed):
            self.send(message)

    def receive(self) -> tuple[Message, list[int]] | None:
        """The next message and its descriptors; None when there is none yet. Raises ChannelClosed, and
        ValueError for what is none."""
        if self._put_back:
            return self._put_back.popleft()
        try:
            try:
                wire, descriptors, _, _ = socket.recv_fds(self._socket, WIRE_BYTES, DESCRIPTORS)
            except ConnectionResetError:  # told once, if the other end left something unread; its words are here
                wire, descriptors, _, _ = socket.recv_fds(self._socket, WIRE_BYTES, DESCRIPTORS)
        except BlockingIOError:
            return None
        except OSError as error:
            raise ChannelClosed(str(error)) from error
        if not wire:
            raise ChannelClosed("end of file")
        for descriptor in descriptors:  # CPython's recv_fds() ignores its flags, MSG_CMSG_CLOEXEC among them
            os.set_inheritable(descriptor, False)
        try:
            return decode(wire), descriptors
        except ValueError:
            for descriptor in descriptors:
                os.close(descriptor)
            raise

    def put_back(self, messages: Iterable[tuple[Message, list[int]]]) -> None:
        """Let these be the next to be received. The descriptor does not tell that they are there."""
        self._put_back.extend(messages)

    def close(self) -> None:
        self._socket.close()


def seqpacket_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends that keep message bounds; both non-blocking."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs


def adopt(descriptor: int) -> socket.socket:
    """The socket object of a SEQPACKET descriptor that came with a message."""
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fileno=descriptor)
