"""An exchange over the messages of an ASGI server: what an App reads and writes when another server runs it.

Specification: ASGI, HTTP & WebSocket message format, 2.5.
"""

import asyncio
import os
from collections.abc import Callable
from typing import BinaryIO, Final
from urllib.parse import quote

from prefork.errors import Disconnected, RequestError, ResponseError
from prefork.http.encoding import bodiless, bodiless_length, encode_fields, status_line
from prefork.web.asgi_types import Message, Receive, Scope, Send
from prefork.web.exchange import Fields, Socket
from prefork.web.threads import in_thread

PIECE_BYTES: Final = 256 * 1024  # of a file: what is read at once, and held until the server has taken it

_START: Final = "http.response.start"
_BODY: Final = "http.response.body"
_HOP_FIELDS: Final = frozenset({b"content-length", b"transfer-encoding", b"keep-alive", b"connection"})
_PATH_CHARS: Final = "/:@!$&'()*+,;=~-._"  # RFC 3986, 3.3: what stands for itself in a path


class AsgiExchange:
    """One request of an ASGI server and its response.

    `respond`, `finish` and `fail` only note what is to be sent; `flush` sends it.
    """

    upgrades = asks_websocket = False  # ASGI has a scope of its own for that

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        self.method: str = scope["method"]
        self.scheme: str = scope.get("scheme", "http")
        self.client: tuple[str, int] | None = (client[0], client[1] or 0) if client else None
        self.fields: list[tuple[bytes, bytes]] = [(name.lower(), value) for name, value in scope["headers"]]
        self.root = str(scope.get("root_path", "")).rstrip("/")  # where we are mounted in the server's app
        self.target = _target(scope, self.root)
        self.started = self.finished = self.aborted = self.client_left = False
        self.status = 0
        self.route = ""
        self.on_leave: Callable[[], None] | None = None
        self._http1 = str(scope.get("http_version", "1.1")).startswith("1")
        self._declared = _declared_length(self.fields)
        self.has_body = bool(self._declared) if self._declared is not None else self._may_have_body()
        self._receive = receive
        self._send = send
        self._most: int | None = None
        self._received = 0
        self._pieces: asyncio.Queue[tuple[bytes, bool] | Exception] = asyncio.Queue(1)  # with: is it the last one?
        self._body_over = False
        self._broken: Exception | None = None
        self._silent = False
        self._left: int | None = None  # bytes of the declared body that are not written yet
        self._unsent: list[Message] = []
        self._head: asyncio.Task[None] | None = None  # sends the head of a streamed response
        self._writing = asyncio.Lock()
        self._listener = asyncio.create_task(self._listen())

    def websocket(self) -> Socket:
        raise RequestError(501, "this server does not pass a WebSocket's request on as one")

    # -- the request's body

    def limit_body(self, most: int) -> None:
        self._most = most
        if (self._declared or 0) > most:
            raise self._too_large(most)

    async def read(self) -> bytes:
        if self._broken is not None:
            raise self._broken
        while not self._body_over:
            found = await self._pieces.get()
            if isinstance(found, Exception):
                self._broken = found
                raise found
            piece, self._body_over = found
            self._received += len(piece)
            if self._most is not None and self._received > self._most:
                self._broken = self._too_large(self._most)
                raise self._broken
            if piece:
                return piece
        return b""

    async def _listen(self) -> None:
        """Take what the server has for us: the body, a message ahead of the app, then the client's leaving."""
        over = False
        try:
            while (message := await self._receive())["type"] != "http.disconnect":
                if not over:
                    over = not message.get("more_body", False)
                    await self._pieces.put((bytes(message.get("body", b"")), over))
        except Exception as error:  # the server's, or of a middleware between it and us: the app that reads gets it
            await self._pieces.put(error)
            return
        self.client_left = True
        if self.on_leave is not None:
            self.on_leave()
        if not over:
            await self._pieces.put(Disconnected("the client left within the request body"))

    def _may_have_body(self) -> bool:
        """Whether a request without Content-Length has a body: in HTTP/1.1 Transfer-Encoding tells, later nothing."""
        return not self._http1 or any(name == b"transfer-encoding" for name, _ in self.fields)

    def _too_large(self, most: int) -> RequestError:
        return RequestError(413, f"the request body is longer than {most} bytes")

    # -- the response

    def respond(self, status: int, fields: Fields, body: bytes = b"") -> None:
        head, declared = self._begin(status, fields)
        length: int | None = len(body)
        if bodiless(self.method, status):
            length = bodiless_length(status, declared, len(body))
            body = b""
        elif declared is not None and declared != length:
            raise ResponseError(f"content-length says {declared}, the body has {length} bytes")
        self.started = self.finished = True
        self.status = status
        self._unsent = [_start(status, head, length), {"type": _BODY, "body": body}]

    def start(self, status: int, fields: Fields, length: int | None = None) -> None:
        head, declared = self._begin(status, fields)
        if length is None:
            length = declared
        self.started = True
        self.status = status
        self._silent = bodiless(self.method, status)
        self._left = length
        self._head = asyncio.create_task(self._say(_start(status, head, None if status == 204 else length)))

    async def write(self, data: bytes) -> None:
        self._require_open(len(data))
        if data and not self._silent:
            await self._put({"type": _BODY, "body": data, "more_body": True})

    async def send_file(self, file: BinaryIO, offset: int, count: int) -> None:
        """Read in a thread: other servers have no sendfile(2) for us."""
        self._require_open(count)
        end = offset + (0 if self._silent else count)
        while offset < end:
            piece = await in_thread(os.pread, file.fileno(), min(PIECE_BYTES, end - offset), offset)
            if not piece:
                self.abort()
                raise ResponseError(f"the file ended {end - offset} bytes early")
            offset += len(piece)
            await self._put({"type": _BODY, "body": piece, "more_body": True})

    def finish(self) -> None:
        if self.finished:
            return
        if not self.started:
            raise ResponseError("the response has not been started")
        if self._left and not self._silent:
            self.abort()
            raise ResponseError(f"the body is {self._left} bytes shorter than declared")
        self.finished = True
        self._unsent = [{"type": _BODY, "body": b""}]

    def fail(self, error: RequestError) -> None:
        if self.finished:
            return
        if self.started:
            self.abort()
            return
        text = error.reason.encode() + b"\n"
        fields = [(b"content-type", b"text/plain; charset=utf-8"), *error.fields]
        if self._http1 and not self._body_over:
            fields.append((b"connection", b"close"))  # what we have not read is not to become the next request
        self.respond(error.status, fields, text)

    def abort(self) -> None:
        """Whoever called the app is to raise then: so an ASGI server learns that it must cut the connection."""
        if not self.finished:
            self.finished = self.aborted = True

    async def flush(self) -> None:
        """Send what is noted. Raises Disconnected."""
        unsent, self._unsent = self._unsent, []
        for message in unsent:
            await self._put(message)

    async def close(self) -> None:
        """Stop listening. Nothing is sent any more."""
        self.on_leave = None
        for task in (self._listener, self._head):
            if task is not None:
                task.cancel()
                await asyncio.wait((task,))
                if not task.cancelled():
                    task.exception()  # if any, whoever waited for it has it already

    def _begin(self, status: int, fields: Fields) -> tuple[list[tuple[bytes, bytes]], int | None]:
        """The fields as the server gets them, and the length they declare. Raises ResponseError."""
        if self.started:
            raise ResponseError("a response has already been started")
        if self.finished:
            raise Disconnected("the connection is gone")
        status_line(status)
        checked = encode_fields(fields)
        head = [(name.lower(), value) for name, value in fields if name.lower() not in _HOP_FIELDS]
        if checked.wants_close and self._http1:
            head.append((b"connection", b"close"))
        return head, checked.declared_length

    def _require_open(self, count: int) -> None:
        if not self.started:
            raise ResponseError("the response has not been started")
        if self.finished or self.client_left:
            raise Disconnected("the client left")
        if self._left is not None and not self._silent:
            if count > self._left:
                raise ResponseError(f"the body is {count - self._left} bytes longer than declared")
            self._left -= count

    async def _put(self, message: Message) -> None:
        async with self._writing:
            if self._head is not None:
                await self._head
                self._head = None
            await self._say(message)

    async def _say(self, message: Message) -> None:
        try:
            await self._send(message)
        except OSError as error:
            self.client_left = True
            raise Disconnected(f"the client left: {error}") from None


def _start(status: int, head: list[tuple[bytes, bytes]], length: int | None) -> Message:
    if length is not None:
        head = [*head, (b"content-length", b"%d" % length)]
    return {"type": _START, "status": status, "headers": head}


def _target(scope: Scope, root: str) -> bytes:
    """The request's target with the whole path in it, as a client of ours would have sent it.

    Whether `path` begins with `root_path` differs between servers, and whether `raw_path` is there at all.
    """
    path: str = scope["path"]
    if path == "*":
        return b"*"
    raw: bytes = (scope.get("raw_path") or quote(path, _PATH_CHARS).encode()).partition(b"?")[0]
    below = quote(root, _PATH_CHARS).encode()
    if root and not (raw == below or raw.startswith(below + b"/")):
        raw = quote(path, _PATH_CHARS).encode() if _is_below(path, root) else below + raw
    query: bytes = scope.get("query_string", b"")
    return raw + b"?" + query if query else raw


def _is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(root + "/")


def _declared_length(fields: list[tuple[bytes, bytes]]) -> int | None:
    value = next((value for name, value in fields if name == b"content-length"), b"")
    return int(value) if value.isdigit() else None
