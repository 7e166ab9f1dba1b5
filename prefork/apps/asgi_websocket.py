"""One WebSocket of an ASGI app: its messages in the order the specification wants, and what each does.

Specification: ASGI, HTTP & WebSocket message format, 2.4; extension websocket.http.response.
"""

from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final

from prefork.apps.asgi_http import HttpCycle
from prefork.apps.routes import asgi_route
from prefork.errors import Disconnected, ResponseError, WebSocketClosed
from prefork.http.exchange import Exchange
from prefork.web.asgi_types import AsgiApp, Message
from prefork.web.request import Request
from prefork.web.websocket import end_failed_socket

if TYPE_CHECKING:
    from prefork.http.websocket import WebSocket

ACCEPT: Final = "websocket.accept"
SEND: Final = "websocket.send"
CLOSE: Final = "websocket.close"
DENIAL: Final = "websocket.http.response."  # start or body
KINDS: Final = (ACCEPT, SEND, CLOSE, f"{DENIAL}start", f"{DENIAL}body")


class Stage(Enum):
    """What the app may send next."""

    ASKED = auto()  # accept, close, or the start of an answer instead
    OPEN = auto()  # messages, or close
    DENYING = auto()  # the rest of that answer
    OVER = auto()


_ASKED, _OPEN, _DENYING, _OVER = Stage  # module names: an enum's attributes cost a call each


async def run_websocket(app: AsgiApp, scope: dict[str, Any], exchange: Exchange) -> None:
    """Serve a request that asks for a WebSocket; `scope` is that of an HTTP request. Raises what the app raises before
    it has accepted, and what is wrong with the handshake."""
    socket = exchange.websocket()
    cycle = WebSocketCycle(exchange, socket, _websocket_scope(scope, socket.subprotocols))
    try:
        await app(scope, cycle.receive, cycle.send)
        cycle.end()
    except BaseException as error:
        if not cycle.accepted:
            raise
        end_failed_socket(socket, error, Request(exchange))


def _websocket_scope(scope: dict[str, Any], subprotocols: list[str]) -> dict[str, Any]:
    del scope["method"]
    scope["type"] = "websocket"
    scope["scheme"] = "wss" if scope["scheme"] == "https" else "ws"
    scope["subprotocols"] = subprotocols
    shared = {name: value for name, value in scope["extensions"].items() if name == "tls"}
    scope["extensions"] = {"websocket.http.response": {}, **shared}
    return scope


class WebSocketCycle:
    """`receive` and `send` for one WebSocket. Misuse raises ResponseError that names the rule, in the app."""

    __slots__ = ("_connected", "_denial", "_exchange", "_scope", "_socket", "_stage", "accepted")

    def __init__(self, exchange: Exchange, socket: "WebSocket", scope: dict[str, Any]) -> None:
        self.accepted = False
        self._exchange = exchange
        self._scope = scope
        self._socket = socket
        self._stage = _ASKED
        self._connected = False
        self._denial: HttpCycle | None = None

    async def receive(self) -> Message:
        """`websocket.connect`, then each message, then `websocket.disconnect` as often as it is asked for."""
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        try:
            message = await self._socket.receive()
        except WebSocketClosed as closed:
            return {"type": "websocket.disconnect", "code": closed.code, "reason": closed.reason}
        return {"type": "websocket.receive", "text" if isinstance(message, str) else "bytes": message}

    async def send(self, message: Message) -> None:
        """Raises ResponseError for misuse; WebSocketClosed (an OSError) once it is closed by somebody else."""
        stage, kind = self._stage, message["type"]
        if stage is _OPEN and kind == SEND:
            await self._socket.send(_content(message))
        elif stage is _OPEN and kind == CLOSE:
            self._socket.close(*_code_and_reason(message))
            self._stage = _OVER
        elif stage is _ASKED and kind == ACCEPT:
            self._accept(message)
        elif stage is _ASKED and kind == CLOSE:
            self._deny()
            self._exchange.route = asgi_route(self._scope)
            self._exchange.respond(403, ())
            self._stage = _OVER
        elif stage in (_ASKED, _DENYING) and kind.startswith(DENIAL):
            await self._answer(message)
        else:
            raise self._misuse(kind)

    def end(self) -> None:
        """The app has returned. Raises ResponseError if it left the client without an answer, Disconnected if nobody
        misses one."""
        if self._stage is _OPEN:
            try:
                self._socket.close()
            except WebSocketClosed:
                pass
        elif self._denial is not None and not self._exchange.finished:
            self._denial.refuse_to_end()
        elif self._stage is _ASKED:
            if self._exchange.client_left:
                raise Disconnected("the client left")
            raise ResponseError(f"the ASGI app returned without sending {ACCEPT} or {CLOSE}")

    def _accept(self, message: Message) -> None:
        fields = [(name, value) for name, value in message.get("headers", ())]
        if not all(isinstance(part, bytes) for field in fields for part in field):
            raise ResponseError(f"{ACCEPT}: names and values of headers are byte strings")
        self._exchange.route = asgi_route(self._scope)
        self._socket.accept(message.get("subprotocol"), fields)
        self._stage = _OPEN
        self.accepted = True

    def _deny(self) -> None:
        if self._exchange.client_left:
            raise Disconnected("the client left")
        self._socket.deny()

    async def _answer(self, message: Message) -> None:
        """The HTTP response that a denial may be is one like any other."""
        if self._denial is None:
            self._deny()
            self._denial = HttpCycle(self._exchange, self._scope)
            self._stage = _DENYING
        await self._denial.send({**message, "type": message["type"].removeprefix("websocket.")})

    def _misuse(self, kind: str) -> Exception:
        if kind not in KINDS:
            return ResponseError(f"{kind!r} is no message of a WebSocket; there are {', '.join(KINDS)}")
        if self._stage is _OVER:
            return ResponseError(f"{kind} was sent after {CLOSE}")
        expected = {_ASKED: f"{ACCEPT}, {CLOSE} or {DENIAL}start", _OPEN: f"{SEND} or {CLOSE}"}
        return ResponseError(f"{kind} was sent where {expected.get(self._stage, f'{DENIAL}body')} is expected")


def _content(message: Message) -> str | bytes:
    text, data = message.get("text"), message.get("bytes")
    if isinstance(text, str):
        return text
    if text is None and isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    raise ResponseError(f"{SEND} needs `text` as str, or `bytes` as a byte string")


def _code_and_reason(message: Message) -> tuple[int, str]:
    code, reason = message.get("code"), message.get("reason")
    if not isinstance(code, int | None) or not isinstance(reason, str | None):
        raise ResponseError(f"{CLOSE} needs `code` as int and `reason` as str")
    return 1000 if code is None else code, reason or ""
