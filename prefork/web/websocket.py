"""A WebSocket as a handler sees it, and how a handler's end ends it."""

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar, overload

import msgspec

from prefork.errors import ResponseError, WebSocketClosed
from prefork.jobs.references import name_of
from prefork.web.exchange import Exchange, Socket
from prefork.web.failures import log_failure
from prefork.web.handlers import check_handler, is_async
from prefork.web.headers import HeaderInput, encode_headers
from prefork.web.http_error import HTTPError
from prefork.web.request import Request
from prefork.web.response import Response, encode_json
from prefork.web.routing import Endpoint

T = TypeVar("T")


class WebSocket:
    """One WebSocket. Accept it first; raise HTTPError to deny it. `request` is what asked for it.

    `async for message in ws` gives each message, text as str and binary as bytes, and ends when the WebSocket does,
    however it does; `closed` then tells how.
    """

    __slots__ = ("_accepted", "_closed", "_socket", "request")

    def __init__(self, request: Request, socket: Socket) -> None:
        self.request = request
        self._socket = socket
        self._accepted = False
        self._closed: WebSocketClosed | None = None

    def __repr__(self) -> str:
        return f"<WebSocket {self.request.path}>"

    @property
    def subprotocols(self) -> list[str]:
        """What the client offers to speak, the most wanted first (RFC 6455, 1.9)."""
        return self._socket.subprotocols

    @property
    def accepted(self) -> bool:
        """Whether this side has accepted it."""
        return self._accepted

    @property
    def closed(self) -> WebSocketClosed | None:
        """Code and reason of its end, once `receive`, a loop over it or `send` has met it."""
        return self._closed

    async def accept(self, subprotocol: str | None = None, headers: HeaderInput = None) -> None:
        """Open it. `subprotocol` is one of `subprotocols`; `headers` go into the answer.

        Raises ResponseError for misuse, WebSocketClosed when the client has left.
        """
        self._socket.accept(subprotocol, encode_headers(headers))
        self._accepted = True

    async def receive(self) -> str | bytes:
        """The next message: text as str, binary as bytes. Raises WebSocketClosed at the end; its code is 1006 when the
        client vanished, 1012 when this worker is being replaced."""
        if not self._accepted:
            raise RuntimeError("accept the WebSocket before receiving from it")
        try:
            return await self._socket.receive()
        except WebSocketClosed as closed:
            self._closed = closed
            raise

    @overload
    async def receive_json(self) -> Any: ...
    @overload
    async def receive_json(self, type: type[T]) -> T: ...
    async def receive_json(self, type: Any = Any) -> Any:
        """The next message as JSON; with `type` (a Struct, dataclass, TypedDict ...) validated and of that type.

        Raises WebSocketClosed: at the end, and when it is no such message, for which the WebSocket is closed with 1007.
        """
        message = await self.receive()
        try:
            return msgspec.json.decode(message, type=type)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            reason = f"{error}".encode()[:120].decode(errors="ignore")  # a close frame has room for 123 bytes
            await self.close(1007, reason)
            self._closed = WebSocketClosed(1007, reason)
            raise self._closed from None

    async def send(self, message: str | bytes | bytearray | memoryview) -> None:
        """Send str as text, bytes as binary; waits while the client is slow. Raises WebSocketClosed."""
        try:
            await self._socket.send(message)
        except WebSocketClosed as closed:
            self._closed = closed
            raise

    async def send_json(self, value: object) -> None:
        """Send what msgspec encodes as JSON, as text. Raises TypeError for a value it does not, WebSocketClosed."""
        await self.send(encode_json(value).decode())

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close it; if it is closed already, nothing happens. Codes of your own are 4000 to 4999.

        Raises ResponseError for a code or reason that cannot be sent (RFC 6455, 7.4), and before `accept`.
        """
        if self._closed is None:
            try:
                self._socket.close(code, reason)
                self._closed = WebSocketClosed(code, reason)
            except WebSocketClosed as closed:
                self._closed = closed

    def __aiter__(self) -> "WebSocket":
        return self

    async def __anext__(self) -> str | bytes:
        try:
            return await self.receive()
        except WebSocketClosed:
            raise StopAsyncIteration from None


class Switched(Response):
    """What stands for the response where a WebSocket has taken its place. There is nothing to send."""

    __slots__ = ()

    streams: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__(status=200)
        self.status = 101

    async def send(self, exchange: Exchange) -> None:
        pass


def websocket_endpoint(handler: Callable[..., Any]) -> Endpoint:
    """What a route runs: the handler, with its WebSocket, to the end. Raises TypeError for what is no such handler.

    What the handler raises before it accepts is answered as in any route. Afterwards there is no answer: it is logged,
    and the WebSocket closed with 1011.
    """
    check_handler(handler, "ws")
    if not is_async(handler):
        raise TypeError(f"websocket handler {name_of(handler)} must be async def")

    async def run(request: Request) -> Response:
        socket = request.exchange.websocket()
        ws = WebSocket(request, socket)
        try:
            await handler(ws)
            if not ws.accepted:
                raise HTTPError(403)
            await ws.close()
        except BaseException as error:
            if not ws.accepted:
                raise
            end_failed_socket(socket, error, request)
        return Switched()

    return run


def end_failed_socket(socket: Socket, error: BaseException, request: Request) -> None:
    """Close a WebSocket whose handler raised `error` after it accepted. Called within the `except` that caught it;
    raises again what is not the handler's failure but the end of its task."""
    task = asyncio.current_task() if isinstance(error, asyncio.CancelledError) else None
    if isinstance(error, GeneratorExit) or (task is not None and task.cancelling()):
        raise  # the one being handled
    if isinstance(error, WebSocketClosed):
        return  # it met the end, and has nothing more to do
    log_failure(request, error, "failed in its WebSocket, which is closed")
    try:
        socket.close(1011, "internal error")
    except (WebSocketClosed, ResponseError):
        pass  # by somebody before it failed
