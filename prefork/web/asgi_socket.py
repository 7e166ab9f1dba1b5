"""A WebSocket over the messages of an ASGI server: what a handler of `App.websocket` has when another server runs it.

Specification: ASGI, HTTP & WebSocket message format, 2.5, and its extension `websocket.http.response`.
"""

import asyncio
from typing import Final

from prefork.errors import Disconnected, ResponseError, WebSocketClosed
from prefork.http.encoding import encode_fields
from prefork.web.asgi_exchange import AsgiExchange
from prefork.web.asgi_types import Message, Receive, Scope, Send
from prefork.web.exchange import Fields

QUEUED_MESSAGES: Final = 16  # that wait for the app; past it no more are taken from the server
REASON_BYTES: Final = 123  # RFC 6455, 5.5: what a close frame has room for beside its code
_DENIAL: Final = "websocket.http.response"
_SCHEMES: Final = {"ws": "http", "wss": "https"}
_NEVER_SENT: Final = (1004, 1005, 1006)  # RFC 6455, 7.4.1


class AsgiSocketExchange(AsgiExchange):
    """The request that asks for a WebSocket. The server has said `websocket.connect`."""

    upgrades = asks_websocket = True

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._socket = AsgiSocket(self, scope.get("subprotocols") or [])
        self._denies = _DENIAL in (scope.get("extensions") or {})
        super().__init__({**scope, "method": "GET", "scheme": _SCHEMES[scope.get("scheme", "ws")]}, receive, send)
        self._body_over = True

    def websocket(self) -> "AsgiSocket":
        return self._socket

    def accepted(self, message: Message) -> None:
        """It is accepted by this message: there is no response any more."""
        self.started = self.finished = True
        self.status = 101
        self._head = asyncio.create_task(self._say(message))

    async def put(self, message: Message) -> None:
        """Send one after all that were sent before. Raises Disconnected."""
        await self._put(message)

    async def flush(self) -> None:
        await super().flush()
        await self._socket.flush()

    async def _listen(self) -> None:
        try:
            while (message := await self._receive())["type"] != "websocket.disconnect":
                text = message.get("text")
                await self._socket.arrived(bytes(message["bytes"]) if text is None else text)
        except Exception as error:  # the server's, or of a middleware between it and us: the app that reads gets it
            await self._socket.arrived(error)
            return
        self.client_left = True
        by_app = self._socket.end is not None
        await self._socket.left(WebSocketClosed(message.get("code") or 1005, message.get("reason") or ""))
        if self.on_leave is not None and not by_app:
            self.on_leave()

    async def _say(self, message: Message) -> None:
        """What is said as HTTP denies the WebSocket. Where the server cannot pass that on, it answers 403."""
        kind = message["type"]
        if kind.startswith("http."):
            if self._denies:
                message = {**message, "type": f"websocket.{kind}"}
            elif kind == "http.response.start":
                message = {"type": "websocket.close"}
            else:
                return
        await super()._say(message)


class AsgiSocket:
    """The server's side of one WebSocket, and what its app calls."""

    def __init__(self, exchange: AsgiSocketExchange, subprotocols: list[str]) -> None:
        self.subprotocols = list(subprotocols)
        self.end: WebSocketClosed | None = None  # by whom ever
        self._exchange = exchange
        self._by_app = False
        self._messages: asyncio.Queue[str | bytes | Exception] = asyncio.Queue(QUEUED_MESSAGES)
        self._closing: asyncio.Task[None] | None = None

    def accept(self, subprotocol: str | None = None, fields: Fields = ()) -> None:
        if self._exchange.started:
            raise ResponseError("the WebSocket has been accepted already")
        if subprotocol is not None and subprotocol not in self.subprotocols:
            raise ResponseError(f"the client does not offer the subprotocol {subprotocol!r} (RFC 6455, 4.2.2)")
        encode_fields(fields)
        headers = [(name.lower(), value) for name, value in fields]
        for name, _ in headers:
            if name.startswith((b"sec-websocket-", b"upgrade", b"connection")):
                raise ResponseError(f"{name.decode('latin-1')} belongs to the handshake: an app cannot set it")
        if self.end is not None:
            raise self.end
        self._exchange.accepted({"type": "websocket.accept", "subprotocol": subprotocol, "headers": headers})

    async def receive(self) -> str | bytes:
        if self._by_app and self.end is not None:
            raise self.end
        message = await self._messages.get()
        if isinstance(message, Exception):
            self._messages.put_nowait(message)  # for whoever asks again
            raise message
        return message

    async def send(self, message: str | bytes | bytearray | memoryview) -> None:
        self._require_open("send")
        kind, content = ("text", message) if isinstance(message, str) else ("bytes", bytes(message))
        try:
            await self._exchange.put({"type": "websocket.send", kind: content})
        except Disconnected:
            raise self.end or WebSocketClosed(1006, "the client vanished") from None

    def close(self, code: int = 1000, reason: str = "") -> None:
        self._require_open("close")
        if not (1000 <= code < 1015 and code not in _NEVER_SENT) and not 3000 <= code < 5000:
            raise ResponseError(f"{code} is no code to close a WebSocket with (RFC 6455, 7.4)")
        if len(reason.encode()) > REASON_BYTES:
            raise ResponseError(f"the reason of a close has at most {REASON_BYTES} bytes")
        self._by_app = True
        self.end = WebSocketClosed(code, reason)
        self._closing = asyncio.create_task(
            self._exchange.put({"type": "websocket.close", "code": code, "reason": reason})
        )
        while not self._messages.empty():
            self._messages.get_nowait()
        self._messages.put_nowait(self.end)

    def _require_open(self, verb: str) -> None:
        if not self._exchange.started:
            raise ResponseError(f"{verb}: the WebSocket has not been accepted")
        if self._by_app:
            raise ResponseError(f"{verb}: the WebSocket is closed: by the app itself")
        if self.end is not None:
            raise self.end

    # -- what its exchange reports and asks

    async def arrived(self, message: str | bytes | Exception) -> None:
        """A message of the client's, or what went wrong instead. Waits while the app has enough of them."""
        if not self._by_app:
            await self._messages.put(message)

    async def left(self, end: WebSocketClosed) -> None:
        """The client has closed it, or our close is complete."""
        if not self._by_app:
            self.end = end
            await self._messages.put(end)

    async def flush(self) -> None:
        """See that our close is sent. Raises Disconnected."""
        if self._closing is not None:
            await self._closing
