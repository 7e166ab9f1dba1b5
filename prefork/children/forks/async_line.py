"""Send and receive through a line from tasks of an event loop: in turn, with back-pressure."""

import asyncio
import select
import socket
from collections import deque
from typing import Any, Final

from prefork.children.forks.line import Line
from prefork.children.forks.packets import Attached, Packet
from prefork.errors import ChildError
from prefork.jobs.arena import QUICK_BYTES

AT_ONCE: Final = 64  # packets without giving way: a quick other side must not keep the loop from its other tasks


class AsyncLine:
    """Reads only when somebody receives, so what nobody wants stays in the kernel's bounded queue."""

    def __init__(self, line: Line, loop: asyncio.AbstractEventLoop) -> None:
        self.line = line
        self.loop = loop
        self._receivers: deque[asyncio.Future[tuple[int, Any]]] = deque()
        self._put_back: deque[asyncio.Future[tuple[int, Any]]] = deque()  # for receivers that went away meanwhile
        self._turns: deque[asyncio.Future[None]] = deque()  # of those who want to send
        self._sending = False
        self._room: asyncio.Future[None] | None = None  # who sends waits for this
        self._waits_for = (-1, 0)
        self._listening = False
        self._at_once = 0
        self._asked = False  # something was sent since the last message: its answer cannot be there yet
        self._hung_up = False  # we send no more
        self._ended = False  # nothing more comes than what is there
        self._closed = False

    # -- sending

    async def send(self, value: Any, fds: Attached = ()) -> None:
        """Send a message after those before it, once the other side has room. Raises Unsendable, ChildError, and
        BrokenPipeError when there is nobody (any more)."""
        packet = self.line.pack(value, fds)
        try:
            if self._sending or packet.weight > QUICK_BYTES or not self._offer(packet):
                await self._send_in_turn(packet)
            else:
                self._asked = True
                self._at_once += 1
                if self._at_once >= AT_ONCE:
                    await self._give_way()
        finally:
            packet.close()

    def offer(self, packet: Packet) -> bool:
        """Send a packet at once, before anybody else does. False when there is no room."""
        return self._offer(packet)

    async def _send_in_turn(self, packet: Packet) -> None:
        if self._sending:
            turn = self.loop.create_future()
            self._turns.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._next_turn()
                raise
        self._sending = True
        try:
            while True:
                if packet.unfilled and packet.weight > QUICK_BYTES and not self._closed and self.line.has_room(packet):
                    await fill(packet, self.loop)
                if self._offer(packet):
                    return
                await self._wait_for_room(packet)
        finally:
            self._next_turn()

    def _next_turn(self) -> None:
        while self._turns:
            turn = self._turns.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._sending = False

    def _offer(self, packet: Packet) -> bool:
        if self._closed or self._ended or self._hung_up:
            raise BrokenPipeError
        return self.line.offer(packet)

    async def _wait_for_room(self, packet: Packet) -> None:
        descriptor, event = self._waits_for = self.line.waits_for(packet)
        room = self._room = self.loop.create_future()
        if event == select.POLLIN:
            self.loop.add_reader(descriptor, self._wake_sender)
        else:
            self.loop.add_writer(descriptor, self._wake_sender)
        try:
            await room
        finally:
            self._stop_waiting_for_room()

    def _wake_sender(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def _stop_waiting_for_room(self) -> None:
        descriptor, event = self._waits_for
        if self._room is None:
            return
        self._wake_sender()
        self._room = None
        if event == select.POLLIN:
            self.loop.remove_reader(descriptor)
        else:
            self.loop.remove_writer(descriptor)

    # -- receiving

    async def receive(self) -> tuple[int, Any]:
        """The next packet, as `Line.take` has it; several tasks get one each, in turn. Waits for it. Raises EOFError at
        the end, ChildError for one that cannot be made anew here."""
        if self._put_back:
            return self._put_back.popleft().result()
        if not (self._receivers or self._asked) or self._ended or self._closed:
            try:
                found = self._take()
            except BlockingIOError:
                pass
            else:
                self._at_once += 1
                if self._at_once >= AT_ONCE:
                    await self._give_way_with(found)
                return found
        self._asked = False
        receiver: asyncio.Future[tuple[int, Any]] = self.loop.create_future()
        self._receivers.append(receiver)
        self._at_once = 0
        if not self._listening:
            self._listen(True)
        try:
            return await receiver
        except asyncio.CancelledError:
            if not receiver.done():
                receiver.cancel()
            elif not receiver.cancelled():
                self._give_back(receiver)
            raise

    async def _give_way_with(self, found: tuple[int, Any]) -> None:
        """Let other tasks run now and then; what was found is not lost if we are cancelled meanwhile."""
        try:
            await self._give_way()
        except asyncio.CancelledError:
            receiver: asyncio.Future[tuple[int, Any]] = self.loop.create_future()
            receiver.set_result(found)
            self._give_back(receiver)
            raise

    def _give_back(self, receiver: "asyncio.Future[tuple[int, Any]]") -> None:
        error = receiver.exception()
        self._put_back.append(receiver)
        while self._receivers:
            other = self._receivers.popleft()
            if other.done():
                continue
            self._put_back.pop()
            if error is None:
                other.set_result(receiver.result())
            else:
                other.set_exception(error)
            return

    def _take(self) -> tuple[int, Any]:
        if self._closed:
            raise EOFError
        try:
            return self.line.take()
        except BlockingIOError:
            if self._ended:
                raise EOFError from None
            raise

    def _read(self) -> None:
        """Something can be read: one packet for who waits for it."""
        while self._receivers and self._receivers[0].done():
            self._receivers.popleft()
        if not self._receivers:
            self._listen(False)
            return
        try:
            found = self._take()
        except BlockingIOError:
            return
        except EOFError:
            self._listen(False)
            for receiver in self._receivers:
                if not receiver.done():
                    receiver.set_exception(EOFError())
            self._receivers.clear()
        except ChildError as error:
            self._receivers.popleft().set_exception(error)
        else:
            self._receivers.popleft().set_result(found)

    def _listen(self, wanted: bool) -> None:
        if wanted != self._listening:
            self._listening = wanted
            if wanted:
                self.loop.add_reader(self.line.end.fileno(), self._read)
            else:
                self.loop.remove_reader(self.line.end.fileno())

    async def _give_way(self) -> None:
        self._at_once = 0
        await asyncio.sleep(0)

    # -- the end

    def hang_up(self) -> None:
        """Send no more; who waits to is told. What was sent before can still be received, on both sides."""
        self._hung_up = True
        self.line.hang_up(socket.SHUT_WR)
        self._wake_sender()

    def end(self) -> None:
        """The process on the other side is gone: nothing more comes than what is there."""
        self._ended = True
        self._wake_sender()
        while any(not receiver.done() for receiver in self._receivers):
            self._read()

    @property
    def unread(self) -> bool:
        """Whether there is something that nobody has received."""
        return bool(self._put_back) or self.line.unread

    def close(self) -> None:
        """Nobody will send or receive any more."""
        if self._closed:
            return
        self._closed = True
        self._listen(False)
        self._stop_waiting_for_room()
        while any(not receiver.done() for receiver in self._receivers):
            self._read()
        while self._put_back:  # descriptors among them are closed with their object
            self._put_back.popleft()
        self.line.close()


async def fill(packet: Packet, loop: asyncio.AbstractEventLoop) -> None:
    """Copy a large value into shared memory, in a thread. Raises ChildError for lack of it."""
    filling = loop.run_in_executor(None, packet.fill)
    try:
        await asyncio.shield(filling)
    except asyncio.CancelledError:
        filling.add_done_callback(lambda _: packet.close())  # the thread goes on, and makes what is to be closed
        raise
    except OSError as error:
        raise ChildError(f"no shared memory for a message: {error.strerror or error}") from error
