"""What a forked child has of its parent: `parent`, which sends and receives, for plain functions and async ones."""

import asyncio
import os
import select
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

from prefork.children.forks import packets
from prefork.children.forks.async_line import AsyncLine
from prefork.children.forks.line import Line
from prefork.children.forks.packets import Attached, Packet
from prefork.errors import ChildDisconnected, ChildError

# How long to look for the next message before going to sleep: see jobs/runner.py, which does the same for jobs.
SPIN_SECONDS: Final = 100e-6

_ASLEEP: Final = 0  # flags to read with: wait for it


class ParentGone(ChildDisconnected):
    """It is our own parent that is gone, and not a child of ours."""


class Parent:
    """The one who forked this process. Only there it can be used; elsewhere its methods raise RuntimeError.

    `send`, `receive` and `for` wait in the calling thread, which may be any: they are for a plain `def`. `asend`,
    `areceive` and `async for` are the same for an `async def`. They raise ChildDisconnected when the parent has
    disconnected, or is gone; what it had sent before is received first. A target that lets that error through ends with
    status 0.
    """

    def __init__(self) -> None:
        self._line: Line | None = None
        self._waiting: dict[asyncio.AbstractEventLoop, AsyncLine] = {}  # threads may have loops of their own
        self._disconnected = False
        self._sending = threading.Lock()
        self._receiving = threading.Lock()

    def attach(self, line: Line) -> None:
        """This process is a child, with that line to its parent."""
        self._line = line

    def __bool__(self) -> bool:
        """Whether this process was forked by `fork` and can talk to its parent."""
        return self._line is not None and not self._disconnected

    # -- for a plain def

    def send(self, message: Any, *, fds: Attached = ()) -> None:
        """Send a message. Waits while the parent has too much to receive already.

        `fds`: descriptors, or sockets and files, of which the parent gets duplicates; its message is a `WithFds` then.
        Raises Unsendable, ChildDisconnected.
        """
        line = self._connected()
        self._post(line, line.pack(message, fds))

    def receive(self) -> Any:
        """The next message; a `WithFds` if it was sent with descriptors. Waits for it. Raises ChildDisconnected when
        there will be none, ChildError for one that cannot be made anew here, which is lost then."""
        line = self._connected()
        with self._receiving:
            until = time.perf_counter() + SPIN_SECONDS
            try:
                while time.perf_counter() < until:
                    try:
                        return line.take()[1]
                    except BlockingIOError:
                        os.sched_yield()
                return line.take(_ASLEEP)[1]
            except EOFError:
                raise _gone() from None

    def __iter__(self) -> Iterator[Any]:
        """Messages, until the parent disconnects."""
        while True:
            try:
                message = self.receive()
            except ChildDisconnected:
                return
            yield message

    def disconnect(self) -> None:
        """No more messages, either way; what was sent is still received. This process goes on."""
        line = self._connected()
        try:
            self._post(line, packets.pack(packets.BYE, None))
        except ChildDisconnected:
            pass  # so has it
        self._disconnected = True
        line.hang_up()

    # -- for an async def

    async def asend(self, message: Any, *, fds: Attached = ()) -> None:
        """As `send`; other tasks run meanwhile."""
        try:
            await self._async().send(message, fds)
        except BrokenPipeError:
            raise _gone() from None

    async def areceive(self) -> Any:
        """As `receive`; other tasks run meanwhile."""
        try:
            return (await self._async().receive())[1]
        except EOFError:
            raise _gone() from None

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Messages, until the parent disconnects."""
        while True:
            try:
                message = await self.areceive()
            except ChildDisconnected:
                return
            yield message

    # -- ourselves

    def _connected(self) -> Line:
        if self._line is None:
            raise RuntimeError("this process was not forked by prefork.children.fork: it has no parent to talk to")
        if self._disconnected:
            raise ParentGone("this process has disconnected from its parent")
        return self._line

    def _async(self) -> AsyncLine:
        line = self._connected()
        loop = asyncio.get_running_loop()
        waiting = self._waiting.get(loop)
        if waiting is None:
            for ended in [known for known in self._waiting if known.is_closed()]:
                del self._waiting[ended]
            waiting = self._waiting[loop] = AsyncLine(line, loop)
        return waiting

    def _post(self, line: Line, packet: Packet) -> None:
        try:
            with self._sending:
                while not line.offer(packet):
                    descriptor, event = line.waits_for(packet)
                    waiting = select.poll()
                    waiting.register(descriptor, event)
                    waiting.poll()
        except BrokenPipeError:
            raise _gone() from None
        finally:
            packet.close()


def _gone() -> ParentGone:
    return ParentGone("the parent has disconnected, or is gone")


parent: Final = Parent()


def wants_fresh(channel: socket.socket) -> bool:
    """Whether the child that this channel belongs to is to be a new interpreter. Waits for its first packet."""
    head = channel.recv(packets.HEADER.size, socket.MSG_PEEK)
    return len(head) == packets.HEADER.size and bool(packets.HEADER.unpack(head)[1] & packets.FRESH)


def open_line(channel: socket.socket) -> tuple[str, Line]:
    """The target's name and our end of the line, by the first packet. Raises EOFError when the parent has gone."""
    first = packets.read(channel, bytearray(packets.PACKET_BYTES), _ASLEEP)
    came = first.value("pickle")
    if first.kind != packets.START or not isinstance(came, packets.WithFds):
        raise ChildError("a child was started in no way that is known here")
    name, codec, most = came.message
    [side] = came.take()
    line = Line(channel, socket.socket(fileno=side), codec, most)
    line.release(0)
    return name, line
