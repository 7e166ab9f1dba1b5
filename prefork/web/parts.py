"""Answer with an open file: all of it, a part, several parts, or that the client's copy is still good."""

import os
from collections.abc import Sequence
from email.utils import formatdate
from functools import lru_cache
from typing import ClassVar, Final

from prefork.errors import ResponseError
from prefork.system.open_file import OpenFile
from prefork.web.conditions import Span, choose_part
from prefork.web.exchange import Exchange
from prefork.web.headers import FieldTuple
from prefork.web.response import Response

# What is no longer is read and sent with the head in one write: measured, 16 KiB cost 0.75 of what sendfile(2) takes,
# 64 KiB 1.2 and 256 KiB 6 times as much. It is also what a slow client can make us hold.
ONE_WRITE_BYTES: Final = 32 * 1024

_NOT_IN_304: Final = (b"content-type", b"content-encoding", b"accept-ranges")  # RFC 9110, 15.4.5


def etag_of(file: OpenFile, suffix: str = "") -> str:
    """A strong validator: one changes with the other, to the resolution of the file system's clock."""
    return f'"{file.modified_ns:x}-{file.size:x}{suffix}"'


@lru_cache(maxsize=1024)
def validators(etag: str, modified: int) -> FieldTuple:
    """The fields by which a client can ask again, or for a part."""
    return (
        (b"accept-ranges", b"bytes"),
        (b"etag", etag.encode()),
        (b"last-modified", formatdate(modified, usegmt=True).encode()),
    )


def respond_with(
    file: OpenFile,
    fields: FieldTuple,
    etag: str,
    method: str,
    asked: Sequence[tuple[bytes, bytes]],
    *,
    status: int = 200,
    wait: bool,
) -> Response:
    """The response to a request with these fields (`asked`); `fields` are those of the whole file.

    With a `status` other than 200, the whole file whatever was asked. Raises BlockingIOError if not `wait` and the
    file may have to come from the disk; ResponseError if it becomes shorter meanwhile.
    """
    spans: tuple[Span, ...] = (Span(0, file.size),)
    if status == 200:
        status, spans = choose_part(method, asked, file.size, etag, file.modified)
    if status == 304:
        return _response(304, tuple(field for field in fields if field[0] not in _NOT_IN_304))
    if status == 412:
        return Response("Precondition Failed\n", 412)
    if status == 416:
        return _response(416, ((b"content-range", b"bytes */%d" % file.size),))
    pieces: Pieces = [spans[0]]
    if len(spans) > 1:
        fields, pieces = _multipart(fields, spans, file.size)
    elif status == 206:
        fields += ((b"content-range", _content_range(spans[0], file.size)),)
    length = sum(len(piece) if isinstance(piece, bytes) else piece.length for piece in pieces)
    if method != "GET" or length > ONE_WRITE_BYTES:
        return FilePart(status, fields, file, pieces, length)
    return _response(status, fields, _read(file, pieces, wait))


class FilePart(Response):
    """What is too long for one write, and what answers HEAD: the file by sendfile(2), and what is between parts."""

    __slots__ = ("_file", "_length", "_pieces")

    streams: ClassVar[bool] = True

    def __init__(self, status: int, fields: FieldTuple, file: OpenFile, pieces: "Pieces", length: int) -> None:
        self.status, self.fields, self.body = status, fields, b""
        self._file, self._pieces, self._length = file, pieces, length

    async def send(self, exchange: Exchange) -> None:
        """Raises ResponseError if the file has become shorter, Disconnected."""
        try:
            exchange.start(self.status, self.fields, self._length)
            if exchange.method != "HEAD":
                await self._send_pieces(exchange)
            exchange.finish()
        finally:
            self._file.close()

    async def _send_pieces(self, exchange: Exchange) -> None:
        with self._file.raw() as raw:
            for piece in self._pieces:
                if isinstance(piece, bytes):
                    await exchange.write(piece)
                elif piece.length:
                    await exchange.send_file(raw, piece.offset, piece.length)


Pieces = list[bytes | Span]  # bytes to send as they are, spans from the file


def _response(status: int, fields: FieldTuple, body: bytes = b"") -> Response:
    response = Response(body, status)
    response.fields = fields
    return response


def _read(file: OpenFile, pieces: Pieces, wait: bool) -> bytes:
    try:
        read = [p if isinstance(p, bytes) else file.read(p.offset, p.length, wait=wait) for p in pieces]
    except EOFError as error:
        raise ResponseError(str(error)) from None
    return read[0] if len(read) == 1 else b"".join(read)


def _multipart(fields: FieldTuple, spans: tuple[Span, ...], size: int) -> tuple[FieldTuple, Pieces]:
    """A multipart/byteranges body (RFC 9110, 14.6). The boundary is random, so that no file can hold it."""
    boundary = os.urandom(16).hex().encode()
    own_type = b"".join(b"content-type: %b\r\n" % value for name, value in fields if name == b"content-type")
    pieces: Pieces = []
    for span in spans:
        content_range = _content_range(span, size)
        start = b"\r\n" if pieces else b""
        pieces.append(b"%b--%b\r\n%bcontent-range: %b\r\n\r\n" % (start, boundary, own_type, content_range))
        pieces.append(span)
    pieces.append(b"\r\n--%b--\r\n" % boundary)
    others = tuple(field for field in fields if field[0] != b"content-type")
    return ((b"content-type", b"multipart/byteranges; boundary=" + boundary), *others), pieces


def _content_range(span: Span, size: int) -> bytes:
    return b"bytes %d-%d/%d" % (span.offset, span.offset + span.length - 1, size)
