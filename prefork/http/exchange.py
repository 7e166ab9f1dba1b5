"""One request and its response, as the app sees them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, Final

from prefork.errors import Disconnected, RequestError, ResponseError
from prefork.http.encoding import (
    LENGTH_LINES,
    BegunHead,
    Fields,
    bodiless,
    bodiless_length,
    common_lines,
    encode_fields,
    interim_line,
    status_line,
)
from prefork.http.head import RequestHead
from prefork.http.incoming import IncomingBody
from prefork.http.sendfile import send_file

if TYPE_CHECKING:
    from prefork.http.connection import Connection
    from prefork.http.peer import Peer
    from prefork.http.successor import Successor
    from prefork.http.tls import Tls
    from prefork.http.websocket import WebSocket

COPIED_BYTES: Final = 64 * 1024  # of a piece, into its chunk; to copy a longer one takes longer than to write thrice

_CLOSE = b"connection: close\r\n"
_KEEP = b"connection: keep-alive\r\n"
_CLOSE_END = _CLOSE + b"\r\n"
_KEEP_END = _KEEP + b"\r\n"
_CHUNKED = b"transfer-encoding: chunked\r\n"


class Exchange(RequestHead):
    """A request with its response. The app reads the one and writes the other, once.

    `respond` writes a whole response at once; `start`, `write` or `send_file`, `finish` write one in pieces.
    """

    __slots__ = (
        "_chunked",
        "_left",
        "_silent",
        "body",
        "bytes_sent",
        "connection",
        "finished",
        "has_body",
        "on_leave",
        "route",
        "started_at",
        "status",
    )
    bytes_sent: int  # of the response's body, once it is started
    started_at: float  # monotonic seconds

    def __init__(self, connection: "Connection") -> None:
        self.connection = connection
        self.body: IncomingBody | None = None
        self.has_body = False
        self.status = 0  # 0 until a response head is written
        self.finished = False
        self.route = ""  # the template of the path that was found for it, such as /users/{id}; what is known of it
        # For an app that is to be told when the client leaves (FIN or reset). It has its grace time after either; the
        # others have none after a reset.
        self.on_leave: Callable[[], object] | None = None

    def __repr__(self) -> str:
        state = "finished" if self.finished else f"started {self.status}" if self.status else "waiting"
        return f"<Exchange {self.method} {self.target.decode('latin-1')} {state}>"

    @property
    def started(self) -> bool:
        """Whether a response head has been written."""
        return self.status != 0

    @property
    def peer(self) -> "Peer":
        """Who sent the request, as far as we believe it."""
        return self.connection._peer or self.connection.peer  # the property costs a call

    @property
    def scheme(self) -> str:
        """`http` or `https`."""
        return self.peer.scheme

    @property
    def client(self) -> tuple[str, int] | None:
        """Address and port of the client; None on a Unix socket."""
        return self.peer.client

    @property
    def server(self) -> tuple[str, int] | None:
        """Address and port the client connected to; None on a Unix socket."""
        return self.peer.server

    @property
    def tls(self) -> "Tls | None":
        """What the client's TLS session is; None without TLS."""
        return self.peer.tls

    @property
    def asks_websocket(self) -> bool:
        """Whether the client offers WebSocket (RFC 6455, 4.2.1). An app may ignore it, and answer."""
        if not self.upgrades or self.method != "GET":
            return False
        offered = b",".join(self.values(b"upgrade")).lower().split(b",")
        return b"websocket" in [protocol.strip(b" \t") for protocol in offered]

    def websocket(self) -> "WebSocket":
        """The WebSocket that is asked for, to be accepted instead of answering. Raises RequestError (400, 426, 501)."""
        from prefork.http.websocket_handshake import open_websocket  # here, because few workers ever need it

        return open_websocket(self)

    @property
    def client_left(self) -> bool:
        """Whether the client has closed its side, or is gone."""
        return self.connection.left

    # -- the request's body

    def limit_body(self, most: int) -> None:
        """Accept at most `most` bytes. Raises RequestError(413) if more were declared, or when more come."""
        if self.body is not None:
            self.body.limit(most, self.content_length)

    @property
    def body_read(self) -> bool:
        """Whether `read` has nothing more to give."""
        return self.body is None or self.body.exhausted

    async def read(self) -> bytes:
        """The next piece of the body; b"" at its end. Raises RequestError(400 | 408 | 413), Disconnected."""
        if self.body is None:
            return b""
        return await self.body.read()

    # -- the response

    def inform(self, status: int, fields: Fields) -> None:
        """Write an interim response, such as 103 Early Hints (RFC 9110, 15.2); HTTP/1.0 clients know none and get none.

        Raises ResponseError.
        """
        self._require_fresh()
        line = interim_line(status)
        if self.http_minor:
            self.connection.write(line + encode_fields(fields).lines + b"\r\n")

    def switch(self, fields: Fields, successor: "Successor") -> None:
        """Answer 101: another protocol has the connection (RFC 9110, 7.8). Raises ResponseError, Disconnected."""
        self._require_fresh()
        lines = encode_fields(fields).lines
        self.status = 101
        self.bytes_sent = 0
        self.finished = True
        self.connection.write(
            b"HTTP/1.1 101 Switching Protocols\r\n"
            + self.connection.service.common
            + b"connection: upgrade\r\n"
            + lines
            + b"\r\n"
        )
        self.connection.give_to(successor)

    def respond(self, status: int, fields: Fields, body: bytes = b"") -> None:
        """Write a whole response. Raises ResponseError before anything is written, so that another may follow."""
        if self.status or self.finished:
            self._require_fresh()
        connection = self.connection
        service = connection.service
        try:
            head = service.begun_heads.get((status, fields if type(fields) is tuple else tuple(fields)))
        except TypeError:  # fields that are lists, which are no keys
            head = None
        begun, declared, wants_close = head or self._begin_head(status, fields)
        if wants_close:
            self.keep_alive = False
        length: int | None = len(body)
        if self.method == "HEAD" or status == 204 or status == 304:
            length = bodiless_length(status, declared, len(body))
            body = b""
        elif declared is not None and declared != length:
            raise ResponseError(f"content-length says {declared}, the body has {length} bytes")
        if service.closing or (self.has_body and not connection.may_drain(self)):
            self.keep_alive = False
        self.status = status
        self.bytes_sent = len(body)
        self.finished = True
        if length is None:
            length_line = b""
        else:
            length_line = LENGTH_LINES[length] if length < len(LENGTH_LINES) else b"content-length: %d\r\n" % length
        connection.write_response(
            b"".join(
                (
                    begun,
                    length_line,
                    b"\r\n" if self.keep_alive and self.http_minor else _KEEP_END if self.keep_alive else _CLOSE_END,
                    body,
                )
            )
        )
        connection.exchange_done(self)

    def start(self, status: int, fields: Fields, length: int | None = None) -> None:
        """Write the head of a response whose body follows in pieces.

        `length` in bytes; without it the body goes in chunks (HTTP/1.1) or until close (HTTP/1.0).

        Raises ResponseError, as `respond` does.
        """
        self._require_fresh()
        begun, declared, wants_close = self._begin_head(status, fields)
        self._silent = bodiless(self.method, status)
        if length is None:
            length = declared
        elif declared is not None and declared != length and not self._silent:
            raise ResponseError(f"content-length says {declared}, the body has {length} bytes")
        self._chunked = length is None and self.http_minor == 1 and not self._silent
        self._left = length
        if length is None and not self._chunked and not self._silent:
            self.keep_alive = False
        if wants_close or self.connection.service.closing:
            self.keep_alive = False
        self.status = status
        self.bytes_sent = 0
        framing = b""
        if self._chunked:
            framing = _CHUNKED
        elif length is not None and status != 204:
            framing = b"content-length: %d\r\n" % length
        if not self.keep_alive:
            framing += _CLOSE
        elif not self.http_minor:
            framing += _KEEP
        self.connection.write(begun + framing + b"\r\n")

    async def write(self, data: bytes) -> None:
        """Write body bytes; waits while the client is slow. Raises Disconnected; ResponseError past the length."""
        self._require_open(len(data))
        if not data or self._silent:
            return
        self.bytes_sent += len(data)
        if not self._chunked:
            self.connection.write(data)
        elif len(data) < COPIED_BYTES:
            self.connection.write(b"%x\r\n%b\r\n" % (len(data), data))
        else:
            self.connection.write(b"%x\r\n" % len(data))
            self.connection.write(data)
            self.connection.write(b"\r\n")
        await self.connection.drained()

    async def send_file(self, file: BinaryIO, offset: int, count: int) -> None:
        """Write `count` bytes of a file by sendfile(2), in a chunked body as one chunk. What it raises has cut the
        connection: Disconnected; OSError when the file cannot be read, ResponseError when it ends early."""
        self._require_open(count)
        if self._silent or not count:
            return
        if self._chunked:
            self.connection.write(b"%x\r\n" % count)
        try:
            sent = await send_file(self.connection, file, offset, count)
        except BaseException:  # cancelled too: nothing else may follow half of what was announced
            self.abort()
            raise
        self.bytes_sent += sent
        if sent < count:
            self.abort()
            raise ResponseError(f"the file ended {count - sent} bytes early")
        if self._chunked:
            self.connection.write(b"\r\n")

    def finish(self, trailers: Fields = ()) -> None:
        """End a response that was written in pieces. A body shorter than declared cuts the connection.

        `trailers` follow a body in chunks; other bodies have no place for them (RFC 9110, 6.5). Raises ResponseError.
        """
        if self.finished:
            return
        if not self.started:
            raise ResponseError("the response has not been started")
        if self._left and not self._silent:
            self.abort()
            raise ResponseError(f"the body is {self._left} bytes shorter than declared")
        end = b"0\r\n%b\r\n" % encode_fields(trailers).lines if self._chunked else b""
        self.finished = True
        if end:
            self.connection.write(end)
        self.connection.exchange_done(self)

    def fail(self, error: RequestError) -> None:
        """Answer what the client did wrong, then close; if a response has begun, cut the connection instead."""
        if self.finished:
            return
        if self.started:
            self.abort()
            return
        self.status = error.status
        self.bytes_sent = 0
        self.finished = True
        self.connection.refuse(error)

    def abort(self) -> None:
        """Cut the connection, so that no half response passes for a whole one."""
        if not self.finished:
            self.finished = True
            self.connection.abort()

    def _begin_head(self, status: int, fields: Fields) -> BegunHead:
        """Status line and fields, without what frames the message; the length declared; whether to close. What comes
        again is kept for the next one."""
        service = self.connection.service
        head = encode_fields(fields)
        common = service.common
        if head.replaces_ours:
            common = common_lines(service.server_header, service.date_second, head.replaces_ours)
        begun = status_line(status) + common + head.lines
        done = begun, head.declared_length, head.wants_close
        if head.known:
            service.keep_begun_head(status, fields, done)
        return done

    def _require_fresh(self) -> None:
        if self.status:
            raise ResponseError("a response has already been started")
        if self.finished:
            raise Disconnected("the connection is gone")

    def _require_open(self, count: int) -> None:
        if not self.started:
            raise ResponseError("the response has not been started")
        if self.finished:
            raise Disconnected("the connection is gone")
        if self._left is not None and not self._silent:
            if count > self._left:
                raise ResponseError(f"the body is {count - self._left} bytes longer than declared")
            self._left -= count
