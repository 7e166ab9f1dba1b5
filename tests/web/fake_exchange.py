"""An exchange in memory: a request as given, and what the app did with it."""

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, BinaryIO

from prefork.apps.native import AppApplication, HandlerApplication
from prefork.errors import Disconnected, RequestError, ResponseError
from prefork.settings import Settings
from prefork.web import App
from prefork.web.exchange import Socket
from prefork.web.headers import Headers

Pairs = Iterable[tuple[str, str]]


class FakeExchange:
    """Keeps the rules of the http layer's exchange, and remembers what was written."""

    def __init__(
        self,
        method: str = "GET",
        target: str = "/",
        headers: Pairs = (),
        body: bytes | Sequence[bytes | Exception] = b"",
        on_write: Callable[["FakeExchange"], None] | None = None,
    ) -> None:
        self.method = method
        self.target = target.encode()
        self.fields = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
        self.scheme = "http"
        self.client: tuple[str, int] | None = ("192.0.2.1", 50000)
        self.server: tuple[str, int] | None = ("192.0.2.2", 80)
        self.http_minor = 1
        self.upgrades = self.asks_websocket = False
        pieces: list[bytes | Exception] = [body] if isinstance(body, bytes) else list(body)
        self.unread = [piece for piece in pieces if piece != b""]
        self.has_body = bool(self.unread)
        self.content_length = len(body) if isinstance(body, bytes) and body else None
        self.limit: int | None = None
        self.started = self.finished = self.aborted = False
        self.status = 0
        self.route = ""
        self.sent: tuple[tuple[bytes, bytes], ...] = ()
        self.length: int | None = None
        self.pieces: list[bytes] = []
        self.file_pieces: list[tuple[int, int]] = []
        self.failed: RequestError | None = None
        self._on_write = on_write  # a test's chance to act when something arrived
        self._received = 0

    # -- what a test looks at

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def headers(self) -> Headers:
        return Headers(self.sent)

    # -- the exchange

    def websocket(self) -> Socket:
        raise AssertionError("nobody asked for a WebSocket")

    def limit_body(self, most: int) -> None:
        self.limit = most
        if self.content_length is not None and self.content_length > most:
            raise RequestError(413, "the body is too large")

    async def read(self) -> bytes:
        if not self.unread:
            return b""
        piece = self.unread.pop(0)
        if isinstance(piece, Exception):
            raise piece
        self._received += len(piece)
        if self.limit is not None and self._received > self.limit:
            raise RequestError(413, "the body is too large")
        return piece

    def respond(self, status: int, fields: Sequence[tuple[bytes, bytes]], body: bytes = b"") -> None:
        self._head(status, fields)
        self.length = len(body)
        self._put(body)
        self.finished = True

    def start(self, status: int, fields: Sequence[tuple[bytes, bytes]], length: int | None = None) -> None:
        self._head(status, fields)
        self.length = length

    async def write(self, data: bytes) -> None:
        assert self.started
        if self.finished:
            raise Disconnected("the client left")
        self._put(data)
        if self._on_write is not None:
            self._on_write(self)
        await asyncio.sleep(0)  # as a slow client would: others get a turn

    async def send_file(self, file: BinaryIO, offset: int, count: int) -> None:
        assert self.started
        self.file_pieces.append((offset, count))
        file.seek(offset)
        self._put(file.read(count))

    def finish(self) -> None:
        assert self.started
        self.finished = True

    def fail(self, error: RequestError) -> None:
        if self.started:
            self.abort()
            return
        self.failed = error
        self.status = error.status
        self.finished = True

    def abort(self) -> None:
        if not self.finished:
            self.aborted = self.finished = True

    def _head(self, status: int, fields: Sequence[tuple[bytes, bytes]]) -> None:
        if self.started:
            raise ResponseError("a response has already been started")
        for name, value in fields:
            assert isinstance(name, bytes)
            assert isinstance(value, bytes)
            if re.search(rb"[\r\n\0]", name + value):
                raise ResponseError(f"response header {name!r} holds CR, LF or NUL")
        if not 200 <= status <= 599:
            raise ResponseError(f"{status} is not a final response status")
        self.status, self.sent, self.started = status, tuple(fields), True

    def _put(self, data: bytes) -> None:
        if data and self.method != "HEAD" and self.status not in (204, 304):
            self.pieces.append(data)


def ask(
    target: App | Callable[..., Any],
    method: str = "GET",
    path: str = "/",
    headers: Pairs = (),
    body: bytes | Sequence[bytes | Exception] = b"",
    **settings: Any,
) -> FakeExchange:
    """What an App or a plain handler does with one request; start-up and shutdown included."""
    exchange = FakeExchange(method, path, headers, body)
    asyncio.run(serve(target, exchange, Settings(**settings)))
    return exchange


async def serve(target: App | Callable[..., Any], exchange: FakeExchange, settings: Settings | None = None) -> None:
    """Run one exchange through an app."""
    settings = settings or Settings()
    application = AppApplication(target, settings) if isinstance(target, App) else HandlerApplication(target, settings)
    await application.startup()
    try:
        await application(exchange)
    finally:
        await application.shutdown()
    assert exchange.finished, "the application left the exchange open"
