"""A WebSocket: takes over from the connection whose request asked for it, and turns frames into messages (RFC 6455).

What a client can make us hold: `websocket_queue` messages or 64 KiB of them, whichever comes first, and the message
beyond; of what it sent after them one read of the loop (256 KiB), as it came: nothing is inflated before its turn.
"""

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Final, cast

from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Close

from prefork.errors import Disconnected, ResponseError
from prefork.http.encoding import Fields
from prefork.http.outgoing import Outgoing
from prefork.http.websocket_inbox import Inbox
from prefork.http.websocket_reading import (
    BINARY,
    CLOSE,
    FINAL,
    PING,
    PONG,
    TEXT,
    FrameError,
    MessageReader,
    parse_close,
)
from prefork.http.websocket_writing import close_frame, message_frame, whole_frame

if TYPE_CHECKING:
    from prefork.http.exchange import Exchange

CLOSE_SECONDS: Final = 10.0  # for the client's part of the closing handshake, and to read what is still on its way
_RESTART: Final = (1012, "service restart")


class State(Enum):
    """How far a WebSocket has come."""

    ASKED = auto()  # neither accepted nor denied
    OPEN = auto()
    CLOSING = auto()  # our close frame is sent, the client's is awaited
    ENDING = auto()  # nothing will be looked at; the transport is to go
    GONE = auto()


_ASKED, _OPEN, _CLOSING, _ENDING, _GONE = State  # module names: an enum's attributes cost a call each


class WebSocket(Outgoing):
    """The server's side of one WebSocket, and what its app calls. `subprotocols` are those the client offers."""

    __slots__ = (
        "_answer",
        "_by_app",
        "_deflate",
        "_heard_at",
        "_inbox",
        "_ping_due",
        "_pinged_at",
        "_reader",
        "_task",
        "_unsent",
        "deadline",
        "exchange",
        "index",
        "service",
        "state",
        "subprotocols",
    )

    def __init__(
        self,
        exchange: "Exchange",
        subprotocols: list[str],
        answer: list[tuple[bytes, bytes]],
        deflate: PerMessageDeflate | None,
    ) -> None:
        """`answer` holds the fields that accept the handshake."""
        self.service = service = exchange.connection.service
        super().__init__(service.loop)
        self.exchange = exchange
        self.subprotocols = subprotocols
        self.state = _ASKED
        self.index = -1
        self.deadline = inf
        self._answer = answer
        self._deflate = deflate
        self._reader = MessageReader(service.settings.websocket_max_message, deflate)
        self._inbox = Inbox(service.settings.websocket_queue, self.loop, self._read_on)
        self._heard_at = 0.0  # both on the loop's clock, as of the last sweep
        self._pinged_at: float | None = None  # a ping is out
        self._ping_due: bytes | None = None  # the client's last ping, while it does not read our answers
        self._unsent = 0  # bytes, when it was last looked at
        self._by_app = False
        self._task: asyncio.Task[None] | None = None
        exchange.on_leave = self._left

    def __repr__(self) -> str:
        return f"<WebSocket {self.exchange.target.decode('latin-1')} {self.state.name}>"

    # -- what the app does

    def accept(self, subprotocol: str | None = None, fields: Fields = ()) -> None:
        """Answer 101. `subprotocol` is one of those offered; `fields` are added to the answer.

        Raises ResponseError for misuse, WebSocketClosed when the client has left.
        """
        if self.state is not _ASKED:
            raise ResponseError("the WebSocket has been accepted already")
        if subprotocol is not None and subprotocol not in self.subprotocols:
            raise ResponseError(f"the client does not offer the subprotocol {subprotocol!r} (RFC 6455, 4.2.2)")
        for name, _ in fields:
            if name.lower() == b"upgrade" or name.lower().startswith(b"sec-websocket-"):
                raise ResponseError(f"{name.decode('latin-1')} belongs to the handshake: an app cannot set it")
        answer = [*self._answer, *fields]
        if subprotocol is not None:
            answer.append((b"sec-websocket-protocol", subprotocol.encode("ascii")))
        if self.exchange.client_left:
            self._left()
            raise self._inbox.ended()
        self.exchange.switch(answer, self)

    def deny(self) -> None:
        """It will not be accepted: the request gets an ordinary answer."""
        self._finish(1006, "denied")

    async def receive(self) -> str | bytes:
        """The next message: text as str, binary as bytes. Raises WebSocketClosed at the end."""
        return await self._inbox.get()

    async def send(self, message: str | bytes | bytearray | memoryview) -> None:
        """Send a message: str as text, bytes as binary; waits while the client is slow.

        Raises WebSocketClosed once it is closed, ResponseError when the app has closed it or not accepted it.
        """
        if self.state is not _OPEN:
            raise self._refusal("send")
        self._transport.write(message_frame(message, self._deflate))
        try:
            await self.drained()
        except Disconnected:
            raise self._inbox.ended() from None

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Begin the closing handshake. Raises WebSocketClosed if it is closed already, ResponseError for misuse."""
        if self.state is not _OPEN:
            raise self._refusal("close")
        frame = close_frame(code, reason)
        self._by_app = True
        self._inbox.clear()
        self._start_closing(frame, code, reason)

    def _refusal(self, verb: str) -> Exception:
        if self._inbox.end is not None and not self._by_app:
            return self._inbox.ended()
        done = "has not been accepted" if self.state is _ASKED else "is closed: by the app itself"
        return ResponseError(f"{verb}: the WebSocket {done}")

    # -- what the loop and the service report

    def took_over(self, transport: asyncio.Transport, task: asyncio.Task[None] | None, data: bytes) -> None:
        self._transport = transport
        self.writable = self.exchange.connection.writable
        self.state = _OPEN
        self._task = task
        if task is not None:
            task.add_done_callback(self._app_ended)
        self._heard_at = self.service.now
        self._watch()
        if data:
            self.data_received(data)

    def data_received(self, data: bytes) -> None:
        self._heard_at = self.service.now
        if self.state is _OPEN and not self._inbox.full:
            try:
                message = self._reader.short_message(data)
            except FrameError as error:
                self._in_turn(partial(self._fail, error.code, error.reason))
                return
            if message is not None:
                if self._inbox.put(message):
                    self._pause_reading()
                return
        elif self.state is _ENDING:
            return
        self._reader.feed(data)
        self._read_on()

    def _read_on(self) -> None:
        """Read messages until none is left, or the app has enough of them."""
        try:
            while self.state is _OPEN or self.state is _CLOSING:
                if self._inbox.full and self.state is _OPEN:
                    self._pause_reading()
                    break
                event = self._reader.next()
                if event is None:
                    self._resume_reading()
                    break
                self._handle(*event)
        except FrameError as error:
            self._in_turn(partial(self._fail, error.code, error.reason))
        self.flush()

    def _handle(self, opcode: int, content: str | bytes) -> None:
        if opcode in (TEXT, BINARY):
            if self.state is _OPEN:
                self._inbox.put(content)
        elif opcode == PING:
            self._answer_ping(cast(bytes, content))
        elif opcode == PONG:
            if self._pinged_at is not None:
                self._pinged_at = None
                self._watch()
        else:
            self._in_turn(partial(self._client_closes, parse_close(cast(bytes, content)), cast(bytes, content)))

    def _in_turn(self, end: Callable[[], None]) -> None:
        """End it once an app that waits for messages has had those before: what it answers at once is still sent."""
        if len(self._inbox):
            self.loop.call_soon(end)
        else:
            end()

    def _answer_ping(self, payload: bytes) -> None:
        """Pongs are written together. A client that does not read them gets one for its last ping (RFC 6455, 5.5.3)."""
        if self.writable:
            self.hold(whole_frame(FINAL | PONG, payload))
        else:
            self._ping_due = payload

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._ping_due is not None and self.state is _OPEN:
            self.write(whole_frame(FINAL | PONG, self._ping_due))
        self._ping_due = None

    def eof_received(self) -> bool:
        """The client closed its side. Returning False closes ours, once what is on its way is written."""
        self._finish(1006, "the client closed the connection without a close frame")
        self._end_soon()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.state = _GONE
        self._finish(1006, "the client vanished")
        self.lose()
        if self._task is None:
            self.service.successor_closed(self)
        else:  # an app that was told has its grace time; one that closed by itself takes the time it needs
            self.deadline = inf if self._by_app else self.loop.time() + self.service.disconnect_grace_seconds

    @property
    def in_progress(self) -> str | None:
        return f"WebSocket {self.exchange.target.decode('latin-1')}"

    def expired(self) -> None:
        """A time is over: the app's grace, the closing handshake's, or a silent client's."""
        self.deadline = inf
        if self.state is _OPEN:
            self._watch()
        elif self.state is not _GONE:
            self._transport.abort()
        elif self._task is not None:
            self._task.cancel()

    def _watch(self) -> None:
        """Ping a client that has been silent, end one that does not answer; sets the next deadline."""
        settings, now = self.service.settings, self.loop.time()
        if not settings.websocket_ping_seconds:
            return
        unsent = self._transport.get_write_buffer_size()
        if not self._reading or unsent < self._unsent:
            self._heard_at = now  # what it says waits for our app; or our ping, for it to read what stands before
        self._unsent = unsent
        if self._pinged_at is not None and self._heard_at < self._pinged_at:
            self._finish(1006, "the client did not answer a ping")
            self._fail(1011, "no answer to a ping")
            return
        self._pinged_at = None
        silent_until = self._heard_at + settings.websocket_ping_seconds
        if now < silent_until:
            self.deadline = silent_until
            return
        self._transport.write(whole_frame(FINAL | PING, b""))
        self._pinged_at = self.service.now
        self.deadline = now + settings.websocket_pong_seconds

    def leave(self) -> None:
        if self.state is _OPEN:
            self._start_closing(close_frame(*_RESTART), *_RESTART)

    def cut(self) -> None:
        self._finish(*_RESTART)
        if self.state is not _GONE:
            self._transport.abort()
        if self._task is not None:
            self._task.cancel()

    def _app_ended(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if self.state is _GONE:
            self.service.successor_closed(self)
        elif self.state is _OPEN:
            self._fail(1011, "the app ended")

    def _left(self) -> None:
        """The client left before it was accepted."""
        self._finish(1006, "the client left")

    # -- endings

    def _start_closing(self, frame: bytes, code: int, reason: str) -> None:
        """Our close frame goes first; the client's ends it (RFC 6455, 7.1.2)."""
        self._transport.write(frame)
        self.state = _CLOSING
        self.deadline = self.loop.time() + CLOSE_SECONDS
        self._finish(code, reason)
        self._read_on()  # over what the app did not take, to the client's close frame

    def _client_closes(self, close: Close, payload: bytes) -> None:
        if self.state is _ENDING or self.state is _GONE:
            return
        if self.state is _OPEN:
            self.write(whole_frame(FINAL | CLOSE, payload))
            self._finish(int(close.code), close.reason)
        self._end_soon()
        self._transport.close()

    def _fail(self, code: int, reason: str) -> None:
        """The client broke a rule, or the app did: say so and look at nothing more (RFC 6455, 7.1.7)."""
        if self.state is _ENDING or self.state is _GONE:
            return
        if self.state is _OPEN:
            self.write(close_frame(code, reason))
        self._finish(code, reason)
        self._end_soon()
        self._resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()  # a close with unread input would be a reset, which can overtake our frame
        else:
            self._transport.close()

    def _end_soon(self) -> None:
        self.state = _ENDING
        self.deadline = self.loop.time() + CLOSE_SECONDS

    def _finish(self, code: int, reason: str) -> None:
        self._inbox.finish(code, reason)

    def _resume_reading(self) -> bool:
        resumed = super()._resume_reading()
        if resumed:
            self._heard_at = self.service.now
        return resumed
