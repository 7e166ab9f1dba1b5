"""One HTTP request of an ASGI app: its messages in the order the specification wants, and what each does.

Specification: ASGI, HTTP & WebSocket message format, 2.4; extensions pathsend, zerocopysend, early_hint, trailers.
"""

import asyncio
import os
from collections.abc import Iterable
from enum import Enum, auto
from io import FileIO
from typing import Any, BinaryIO, Final, NoReturn

from prefork.apps.routes import asgi_route
from prefork.errors import Disconnected, RequestError, ResponseError
from prefork.http.encoding import Fields
from prefork.http.exchange import Exchange
from prefork.web.asgi_types import Message

START: Final = "http.response.start"
BODY: Final = "http.response.body"
TRAILERS: Final = "http.response.trailers"
PATHSEND: Final = "http.response.pathsend"
ZEROCOPYSEND: Final = "http.response.zerocopysend"
EARLY_HINT: Final = "http.response.early_hint"


class Stage(Enum):
    """What the app may send next."""

    HEAD = auto()  # http.response.start, or hints before it
    FIRST_BODY = auto()  # nothing is written yet: the head waits for the first piece
    BODY = auto()
    FILE = auto()  # nothing: a file is on its way, and what came between would be taken for part of it
    TRAILERS = auto()
    OVER = auto()


_HEAD, _FIRST_BODY, _BODY, _FILE, _TRAILERS, _OVER = Stage  # module names: an enum's attributes cost a call each


class HttpCycle:
    """`receive` and `send` for one exchange. Misuse raises ResponseError that names the rule, in the app; once the head
    is written, it cuts the connection too, so that no half answer passes for a whole one.

    `broken_off`: the app was told that nobody waits for its answer. What it raises then is no failure of its own.
    """

    __slots__ = (
        "_body_read",
        "_exchange",
        "_fields",
        "_left",
        "_scope",
        "_stage",
        "_status",
        "_wants_trailers",
        "broken_off",
    )

    _status: int  # of the response, once it is started, as the next two
    _fields: Fields
    _wants_trailers: bool

    def __init__(self, exchange: Exchange, scope: dict[str, Any]) -> None:
        self.broken_off = False
        self._scope = scope
        self._exchange = exchange
        self._stage = _HEAD
        self._body_read = False
        self._left: asyncio.Event | None = None  # made when the app waits for it
        # Not a method of ours, or each request would leave a cycle of references for the collector.
        exchange.on_leave = _nobody_waits

    async def receive(self) -> Message:
        """The next piece of the body; after the last one `http.disconnect`, once the client has left or has its
        answer. Several tasks may receive at once."""
        exchange = self._exchange
        if not self._body_read and self._stage is not _OVER:
            if not exchange.has_body:
                self._body_read = True
                return {"type": "http.request", "body": b"", "more_body": False}
            try:
                piece = await exchange.read()
            except (RequestError, Disconnected) as error:
                self._break_off(error)
                return {"type": "http.disconnect"}
            if not self._body_read:  # else another task has had the last piece
                self._body_read = not piece or exchange.body_read
                return {"type": "http.request", "body": piece, "more_body": not self._body_read}
        await self._wait_for_the_end()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Raises ResponseError for misuse; Disconnected (an OSError) once the client has left."""
        stage, kind = self._stage, message.get("type")
        try:
            if stage is _HEAD and kind == START:
                self._start(message)
            elif stage is _FIRST_BODY and kind == BODY and not message.get("more_body") and not self._wants_trailers:
                body = message.get("body", b"")
                if not body and self._exchange.method == "HEAD":  # how long a GET's would be, the app has not said
                    await self._continue(stage, kind, message)
                    return
                self._stage = _OVER
                self._exchange.respond(self._status, self._fields, body if type(body) is bytes else _bytes(body))
                self._wake()
            elif kind == EARLY_HINT and stage is _HEAD:
                links = message.get("links", ())
                self._exchange.inform(103, [(b"link", _bytes(link, "a link of early_hint")) for link in links])
            else:
                await self._continue(stage, kind, message)
        except Disconnected:
            self.broken_off = True
            raise
        except (ResponseError, TypeError, ValueError, KeyError, AttributeError) as error:
            self._misused(kind, error)

    def _break_off(self, error: RequestError | Disconnected) -> None:
        """The body breaks a rule, or no more of it will come."""
        self._body_read = True
        if self._stage is _OVER:
            return  # the app has answered without it
        self.broken_off = True
        if isinstance(error, RequestError):
            self._exchange.fail(error)
            self._stage = _OVER

    def refuse_to_end(self) -> None:
        """The app has returned without a whole response. Raises ResponseError, or Disconnected if nobody misses it."""
        if self._exchange.client_left:
            raise Disconnected("the client left")
        missing = {_HEAD: START, _FIRST_BODY: BODY, _BODY: f"the last {BODY}", _TRAILERS: f"the last {TRAILERS}"}
        raise ResponseError(f"the ASGI app returned without sending {missing.get(self._stage, 'a response')}")

    def _misused(self, kind: object, error: Exception) -> NoReturn:
        """What the app did is against a rule: it may answer anew if nothing is written yet."""
        if self._exchange.started:
            self._exchange.abort()
            self._wake()
        else:
            self._stage = _HEAD
        if isinstance(error, ResponseError):
            raise error
        if isinstance(error, KeyError):
            raise ResponseError(f"{kind} needs the key {error}") from error
        if isinstance(error, TypeError | AttributeError):  # maybe from within the server, which tells less than this
            try:
                _fields(getattr(self, "_fields", ()))
            except (TypeError, ValueError) as plainer:
                error = plainer
        raise ResponseError(f"{kind}: {error}") from error

    def _start(self, message: Message) -> None:
        status, fields = message["status"], message.get("headers", ())
        if not isinstance(status, int):
            raise TypeError(f"status is an int, not {type(status).__qualname__}")
        self._status = int(status)  # frameworks pass on HTTPStatus
        self._fields = fields if type(fields) is list else _fields(fields)
        self._wants_trailers = message.get("trailers", False)
        self._stage = _FIRST_BODY
        self._exchange.route = asgi_route(self._scope)

    async def _continue(self, stage: Stage, kind: object, message: Message) -> None:
        """Everything but the start of a response and a body that comes whole."""
        if stage in (_FIRST_BODY, _BODY) and kind in (BODY, ZEROCOPYSEND, PATHSEND):
            more = bool(message.get("more_body"))
            if kind == BODY:
                piece = _bytes(message.get("body", b""))
                self._begin()
                await self._exchange.write(piece)
            elif kind == ZEROCOPYSEND:
                await self._send_descriptor(message, more)
            else:
                more = False
                await self._send_path(message)
            if not more:
                self._end_body()
        elif stage is _TRAILERS and kind == TRAILERS:
            trailers = _fields(message.get("headers", ()))
            self._fields = [*self._fields, *trailers]
            if not message.get("more_trailers"):
                self._stage = _OVER
                self._exchange.finish(self._fields)
                self._wake()
        elif stage is _OVER:
            if self._exchange.client_left or self.broken_off:
                raise Disconnected("the client left")
            raise ResponseError(f"{kind} was sent after the response was complete")
        else:
            expected = {_HEAD: START, _TRAILERS: TRAILERS, _FILE: "the end of a file"}.get(stage, BODY)
            raise ResponseError(f"{kind} was sent where {expected} is expected")

    def _begin(self, length: int | None = None) -> None:
        if self._stage is _FIRST_BODY:
            self._exchange.start(self._status, self._fields, length)
            self._stage = _BODY

    def _end_body(self) -> None:
        if self._wants_trailers:
            self._stage = _TRAILERS
            self._fields = []
        else:
            self._stage = _OVER
            self._exchange.finish()
            self._wake()

    async def _send_path(self, message: Message) -> None:
        """A whole file by its path, as the only body of the response."""
        if self._stage is not _FIRST_BODY:
            raise ResponseError(f"{PATHSEND} was sent within a body")
        path = os.fspath(message["path"])
        self._stage = _FILE
        try:
            file = await asyncio.to_thread(_open, path)
        finally:
            self._stage = _FIRST_BODY
        with file:
            size = os.fstat(file.fileno()).st_size
            self._begin(size)
            await self._send_file(file, 0, size)

    async def _send_descriptor(self, message: Message, more: bool) -> None:
        """Part of an open file; the app keeps it. Without an offset its position moves on, as sendfile(2) has it."""
        source, asked, count = message["file"], message.get("offset"), message.get("count")
        if min(asked or 0, count or 0) < 0:
            raise ValueError("offset and count are not negative")
        descriptor = os.dup(source if isinstance(source, int) else source.fileno())
        with FileIO(descriptor) as file:
            offset = file.tell() if asked is None else asked
            if count is None:
                count = max(0, os.fstat(descriptor).st_size - offset)
            # A body that this is all of needs no chunks, which sendfile(2) could not write around.
            self._begin(None if more or self._wants_trailers else count)
            await self._send_file(file, offset, count)
            if asked is None:
                file.seek(offset + count)

    async def _send_file(self, file: BinaryIO, offset: int, count: int) -> None:
        self._stage = _FILE
        try:
            await self._exchange.send_file(file, offset, count)
        finally:
            self._stage = _BODY

    async def _wait_for_the_end(self) -> None:
        if not self._exchange.finished and not self._exchange.client_left:
            if self._left is None:
                self._left = asyncio.Event()
                self._exchange.on_leave = self._left.set
            await self._left.wait()

    def _wake(self) -> None:
        if self._left is not None:
            self._left.set()


def _nobody_waits() -> None:
    """For an exchange whose app has its grace time, but does not wait for the client to leave."""


def _bytes(value: object, what: str = "body") -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise TypeError(f"{what} is a byte string, not {type(value).__qualname__}")


def _fields(pairs: Iterable[Iterable[bytes]]) -> list[tuple[bytes, bytes]]:
    return [(_bytes(name, "a header's name"), _bytes(value, "a header's value")) for name, value in pairs]


def _open(path: str) -> BinaryIO:
    return open(path, "rb", buffering=0)
