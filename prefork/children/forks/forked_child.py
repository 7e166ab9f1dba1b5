"""The record of one forked child: what was reported of it, its line, and its end."""

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from typing import Any, Final

from prefork.children.forks import packets
from prefork.children.forks.async_line import AsyncLine
from prefork.children.forks.events import Crashed, Disconnected, Event, Exited
from prefork.children.forks.line import Line
from prefork.children.forks.packets import Codec
from prefork.errors import ChildCrashed, ChildDisconnected, ChildNotStarted
from prefork.jobs import failures
from prefork.jobs.offloaders import read_stack
from prefork.system import process
from prefork.system.channel import seqpacket_pair

GONE_SECONDS: Final = 5.0  # between the end of a channel and the news that its process is gone, if it is
_BELOW: Final = ("in call_target", "in run_until_complete", "in run_child")  # frames from here on are ours


class ForkedProcess:
    """Lives until its process is reaped, and until nobody reads what it has sent."""

    def __init__(self, number: int, name: str, loop: asyncio.AbstractEventLoop, codec: Codec, most: int) -> None:
        """`name`: of its target. Raises OSError when there are no descriptors left for it."""
        self.number = number
        self.name = name
        self.pid: int | None = None  # None until it is ready
        self.gone: asyncio.Future[Exited | Crashed] = loop.create_future()
        self.on_closed: Callable[[], None] = lambda: None
        self.unbind: Callable[[], None] = lambda: None  # from the request it belongs to
        self._loop = loop
        self._left = False  # we have disconnected
        self._disconnected = False  # so has it
        self._ended = False  # on our side
        self._abandoned = False
        self._not_started = ""
        opened: list[Any] = []
        try:
            ours, self._far = seqpacket_pair()
            opened += ours, self._far
            side, self._far_side = seqpacket_pair()
            opened += side, self._far_side
            self.stacks = os.memfd_create("prefork-stacks", os.MFD_CLOEXEC)
        except OSError:
            for end in opened:
                end.close()
            raise
        self._far.setblocking(True)  # the flag is the child's too
        self.line = AsyncLine(Line(ours, side, codec, most), loop)

    @property
    def far(self) -> int:
        """The descriptor that the child is to own."""
        return self._far.fileno()

    # -- starting

    def prepare(self, start: packets.Packet, arguments: packets.Packet) -> None:
        """Send what the child reads first. Raises ChildNotStarted when it does not fit, OSError."""
        try:
            for packet in (start, arguments):
                if not self.line.offer(packet):
                    raise ChildNotStarted(f"{self.name}: the system takes no messages for it")
        finally:
            self._far_side.close()  # it travels with `start`

    @property
    def far_side(self) -> socket.socket:
        return self._far_side

    def forked(self) -> None:
        """It has its end of the line; were ours of that open too, we would not see it closed."""
        self._close_far()

    async def started(self) -> None:
        """Wait until the target is called. Raises ChildNotStarted."""
        try:
            kind, value = await self.line.receive()
        except EOFError:
            await asyncio.wait([self.gone], timeout=GONE_SECONDS)
            words = _words(self.gone.result()) if self.gone.done() else "has closed its channel, by which we talk to it"
            raise ChildNotStarted(f"{self.name}: {self._not_started or words}") from None
        if kind == packets.NOT_READY:
            raise ChildNotStarted(value)
        self.pid = value
        self._close_far()  # unless we have heard of the fork already

    # -- talking

    @property
    def event(self) -> Event | None:
        """What has become of it."""
        if self.gone.done():
            return self.gone.result()
        return Disconnected() if self._disconnected or self._left else None

    async def receive(self) -> Any:
        """The next message. Raises ChildDisconnected, ChildCrashed."""
        try:
            kind, value = await self.line.receive()
            if kind == packets.MESSAGE:
                return value
            self._disconnected = True
        except EOFError:
            if self.gone.done():
                self.close()
        raise await self._farewell() from self._remote()

    async def send(self, value: Any, fds: packets.Attached) -> None:
        """Raises Unsendable, ChildError, ChildDisconnected, ChildCrashed."""
        if self._disconnected:
            raise await self._farewell() from self._remote()
        try:
            await self.line.send(value, fds)
        except BrokenPipeError:
            if self._left and not self.gone.done():
                raise ChildDisconnected(f"{self.name} (pid {self.pid}) was disconnected here") from None
            raise await self._farewell() from self._remote()

    async def _farewell(self) -> ChildDisconnected:
        """Why there is nobody to talk to."""
        if not self._disconnected and not self.gone.done():
            await asyncio.wait([self.gone], timeout=GONE_SECONDS)
            self._disconnected = True  # if it is not gone, it has closed its channel by itself
        event = self.event
        if isinstance(event, Crashed):
            words = f"{self.name} (pid {self.pid}) {_words(event)}"
            return ChildCrashed(words, event.signal, event.stack, event.out_of_memory)
        return ChildDisconnected(f"{self.name} (pid {self.pid}) {_words(event)}")

    def _remote(self) -> BaseException | None:
        event = self.event
        return event.error if isinstance(event, Crashed) else None

    # -- the end

    def disconnect(self) -> None:
        """We send no more."""
        self._left = True
        self.line.hang_up()

    def ends(self) -> bool:
        """Note that we end it. False when it is gone already."""
        self._ended = True
        return not self.gone.done()

    def has_gone(self, status: int | None, out_of_memory: bool, reason: str) -> None:
        """It was reaped with `status`; None: it was never forked, for that reason."""
        try:
            self.line.line.hear()
        except BrokenPipeError:
            pass
        self._not_started = reason
        stack = read_stack(self.stacks, _BELOW)
        os.close(self.stacks)
        self._close_far()
        self.unbind()
        self.gone.set_result(self._what_happened(status or 0, out_of_memory, stack))
        self.line.end()
        if self._abandoned or not self.line.unread:
            self.close()

    def _what_happened(self, status: int, out_of_memory: bool, stack: str) -> Exited | Crashed:
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            if self._ended and number in (signal.SIGTERM, signal.SIGKILL):
                return Exited(-number)
            return Crashed(number, None, stack, out_of_memory)
        failure = self.line.line.failure
        if failure is not None:
            return Crashed(None, failures.restore(failure))
        return Exited(os.waitstatus_to_exitcode(status))

    def abandon(self) -> None:
        """Nobody will talk to it any more."""
        self._abandoned = True
        if self.gone.done():
            self.close()

    def discard(self) -> None:
        """It was not ordered, or did not end in time: nobody waits for its end."""
        self._close_far()
        os.close(self.stacks)
        self.close()

    def close(self) -> None:
        """Let go of its line; what it sent and nobody has read is gone."""
        self.line.close()
        self.on_closed()

    def _close_far(self) -> None:
        self._far.close()
        self._far_side.close()


def _words(event: Event | None) -> str:
    """What happened, for a sentence."""
    if isinstance(event, Exited):
        status = event.status
        return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"has exited with status {status}"
    if isinstance(event, Crashed):
        if event.signal is None:
            return f"has raised {type(event.error).__qualname__}: {event.error}"
        words = f"was killed: {process.exit_words(event.signal)}"
        return f"{words}, for lack of memory (out-of-memory kill in its cgroup)" if event.out_of_memory else words
    return "has disconnected"
