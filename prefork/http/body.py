"""Frame a request body: bytes of the connection in, bytes of the body out. Knows no socket and no loop."""

import re
from typing import Final, Protocol

from prefork.errors import RequestError

CHUNK_LINE_BYTES: Final = 256  # size and extensions of one chunk; nobody sends longer ones in earnest
CHUNK_EXTENSION_BYTES: Final = 16 * 1024  # of one body: one-byte chunks with long extensions are an attack

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED = rb'"[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]*"'
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})((?:;%b(?:=(?:%b|%b))?)*)\r\n" % (_TOKEN, _TOKEN, _QUOTED))
_TRAILER = re.compile(rb"%b:[\t\x20-\x7e\x80-\xff]*\r\n" % _TOKEN)


class Framing(Protocol):
    """Cuts one body out of the bytes of a connection."""

    done: bool
    error: RequestError | None  # 400 or 431: what comes next breaks the rules, and is not framed any more

    def cut(self, buffer: bytes) -> tuple[bytes, bytes]:
        """Take what belongs to the body. Returns (payload, what is left); left over bytes come again with the next
        ones, and once `done` they are not ours. What stands before an error is still payload."""


class LengthFraming:
    """A body of as many bytes as Content-Length says (RFC 9112, 6.3)."""

    __slots__ = ("done", "left")
    error: RequestError | None = None

    def __init__(self, length: int) -> None:
        self.left = length
        self.done = length == 0

    def cut(self, buffer: bytes) -> tuple[bytes, bytes]:
        if len(buffer) < self.left:
            self.left -= len(buffer)
            return buffer, b""
        payload, rest = buffer[: self.left], buffer[self.left :]
        self.left = 0
        self.done = True
        return payload, rest


class ChunkedFraming:
    """A body in chunks; trailers are checked and dropped (RFC 9112, 7.1). No white space around extensions."""

    __slots__ = (
        "_chunk_left",
        "_extension_bytes",
        "_in_trailers",
        "_limits",
        "_trailer_bytes",
        "_trailers",
        "done",
        "error",
    )

    def __init__(self, trailers: int, trailer_bytes: int) -> None:
        self.done = False
        self.error: RequestError | None = None
        self._chunk_left = 0  # bytes until the chunk's closing CRLF is complete; that CRLF counts
        self._in_trailers = False
        self._extension_bytes = 0
        self._trailers = 0
        self._trailer_bytes = 0
        self._limits = trailers, trailer_bytes

    def cut(self, buffer: bytes) -> tuple[bytes, bytes]:
        payload: list[bytes] = []
        at = len(buffer)
        try:
            at = self._cut(buffer, payload)
        except RequestError as error:
            self.error = error
        return b"".join(payload), buffer[at:]

    def _cut(self, buffer: bytes, payload: list[bytes]) -> int:
        at = 0
        while not self.done:
            if self._chunk_left > 2:
                piece = buffer[at : at + self._chunk_left - 2]
                if not piece:
                    break
                payload.append(piece)
                at += len(piece)
                self._chunk_left -= len(piece)
            elif self._chunk_left:
                closing = buffer[at : at + 2]
                if not b"\r\n".startswith(closing):
                    raise RequestError(400, "a chunk is longer than its size says")
                if len(closing) < 2:
                    break
                at += 2
                self._chunk_left = 0
            else:
                line_end = buffer.find(b"\n", at) + 1
                line = buffer[at : line_end or len(buffer)]
                if self._in_trailers:
                    self._count_trailer(line)
                elif len(line) > CHUNK_LINE_BYTES:
                    raise RequestError(400, "a chunk's size line is too long")
                if not line_end:
                    break
                at = line_end
                self._read_line(line)
        return at

    def _read_line(self, line: bytes) -> None:
        if self._in_trailers:
            if line == b"\r\n":
                self.done = True
            elif not _TRAILER.fullmatch(line):
                raise RequestError(400, "malformed trailer field")
            else:
                self._trailers += 1
                self._trailer_bytes += len(line)
            return
        found = _CHUNK_LINE.fullmatch(line)
        if found is None:
            raise RequestError(400, "malformed chunk size or extension")
        self._extension_bytes += len(found[2])
        if self._extension_bytes > CHUNK_EXTENSION_BYTES:
            raise RequestError(400, "too many chunk extensions")
        size = int(found[1], 16)
        self._in_trailers = size == 0
        self._chunk_left = size + 2 if size else 0

    def _count_trailer(self, line: bytes) -> None:
        fields, field_bytes = self._limits
        if self._trailers + (line != b"\r\n") > fields or self._trailer_bytes + len(line) > field_bytes:
            raise RequestError(431, "too many trailer fields")
