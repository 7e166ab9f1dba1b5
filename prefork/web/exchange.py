"""What the framework asks of an exchange. `prefork.http.exchange.Exchange` fits; so may a test's fake."""

from collections.abc import Sequence
from typing import BinaryIO, Protocol

from prefork.errors import RequestError

Fields = Sequence[tuple[bytes, bytes]]  # header fields in order: name, value


class Socket(Protocol):
    """A WebSocket that a request asks for. `prefork.http.websocket.WebSocket` fits."""

    @property
    def subprotocols(self) -> list[str]:
        """Those the client offers."""

    def accept(self, subprotocol: str | None = None, fields: Fields = ()) -> None:
        """Raises ResponseError, WebSocketClosed."""

    async def receive(self) -> str | bytes:
        """Raises WebSocketClosed at the end."""

    async def send(self, message: str | bytes | bytearray | memoryview) -> None:
        """Raises ResponseError, WebSocketClosed."""

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Raises ResponseError, WebSocketClosed."""


class Exchange(Protocol):
    """One request and its response."""

    route: str
    """The template of the path that was found for it."""

    @property
    def method(self) -> str: ...
    @property
    def target(self) -> bytes:
        """Origin form as sent, `b"/a%20b?x=1"`; or `b"*"`."""

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        """Request header fields in order, names in lower case."""

    @property
    def has_body(self) -> bool: ...
    @property
    def scheme(self) -> str: ...
    @property
    def client(self) -> tuple[str, int] | None: ...
    @property
    def started(self) -> bool:
        """A response head has been written."""

    @property
    def upgrades(self) -> bool:
        """The client offers another protocol."""

    @property
    def asks_websocket(self) -> bool:
        """It is WebSocket."""

    def websocket(self) -> Socket:
        """What it asks for. Raises RequestError for a handshake that breaks a rule."""

    @property
    def finished(self) -> bool:
        """The response is complete, or never will be."""

    def limit_body(self, most: int) -> None:
        """`most` in bytes. Raises RequestError(413)."""

    async def read(self) -> bytes:
        """The next piece of the body, b"" at its end. Raises RequestError, Disconnected."""

    def respond(self, status: int, fields: Fields, body: bytes = b"") -> None:
        """Write a whole response. Raises ResponseError: then nothing was written."""

    def start(self, status: int, fields: Fields, length: int | None = None) -> None:
        """Write the head of a streamed response. Raises ResponseError: then nothing was written."""

    async def write(self, data: bytes) -> None:
        """Raises Disconnected, ResponseError."""

    async def send_file(self, file: BinaryIO, offset: int, count: int) -> None:
        """Raises Disconnected, ResponseError."""

    def finish(self) -> None:
        """End a streamed response."""

    def fail(self, error: RequestError) -> None:
        """Answer what the client did wrong, then close."""

    def abort(self) -> None:
        """Cut the connection, so that no half answer passes for a whole one."""
