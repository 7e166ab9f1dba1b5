"""Write a response head: status and fields in, bytes out. Forbidden bytes never get past here."""

import re
from collections.abc import Sequence
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Final, NamedTuple

from prefork.errors import ResponseError

Fields = Sequence[tuple[bytes, bytes]]

KNOWN_LINES: Final = 1024  # lines that need not be checked again; beyond, all are forgotten
KNOWN_LINE_BYTES: Final = 160  # content types and cache rules repeat; cookies do not

_STATUS_LINES: Final = {
    status.value: b"HTTP/1.1 %d %s\r\n" % (status.value, status.phrase.encode("ascii"))
    for status in HTTPStatus
    if status >= 200
}
_INTERIM_PHRASES: Final = {102: b"Processing", 103: b"Early Hints", 104: b"Upload Resumption Supported"}
LENGTH_LINES: Final = tuple(b"content-length: %d\r\n" % length for length in range(1024))  # most answers are short
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FORBIDDEN_IN_VALUE = re.compile(rb"[\r\n\x00]")
# These belong to the connection; what the app says of them is read, never copied.
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding", b"connection", b"keep-alive"})
_OURS: Final = frozenset({b"date", b"server"})
_KNOWN_LINES: Final[dict[tuple[bytes, bytes], bytes]] = {}


class ResponseHead(NamedTuple):
    """The encoded fields of a response, without status line and framing, and what they say of both."""

    lines: bytes
    declared_length: int | None
    wants_close: bool
    replaces_ours: frozenset[bytes]  # of `date` and `server`
    known: bool  # all lines were seen before


BegunHead = tuple[bytes, int | None, bool]  # status line and fields; the length declared; whether to close

_PLAIN: Final = frozenset[bytes]()


def encode_fields(fields: Fields) -> ResponseHead:
    """Encode an app's response fields. Raises ResponseError (RFC 9110, 5.5) naming the field."""
    lines: list[bytes] = []
    declared: int | None = None
    close = False
    replaced = _PLAIN
    known = True
    for field in fields:
        line = _KNOWN_LINES.get(field) if type(field) is tuple else None
        if line is not None:
            lines.append(line)
            continue
        name, value = field
        if type(field) is not tuple:
            known = False
        lower = name.lower()
        if lower in _FRAMING:
            if lower == b"content-length":
                if not value.isdigit():
                    raise ResponseError(f"content-length is {value!r}; it must be a number of bytes")
                declared = int(value)
            elif lower == b"connection" and b"close" in value.lower():
                close = True
            continue
        known = False
        line = encode_line(name, value)
        lines.append(line)
        if lower in _OURS:
            replaced |= {lower}
        elif len(line) <= KNOWN_LINE_BYTES:
            if len(_KNOWN_LINES) >= KNOWN_LINES:
                _KNOWN_LINES.clear()
            _KNOWN_LINES[name, value] = line
    return ResponseHead(b"".join(lines), declared, close, replaced, known)


def encode_line(name: bytes, value: bytes) -> bytes:
    """One field line. Raises ResponseError when name or value would break the head open."""
    if not _NAME.fullmatch(name):
        raise ResponseError(f"response header name {name!r} is not a token")
    if _FORBIDDEN_IN_VALUE.search(value):
        raise ResponseError(f"response header {name.decode()} holds CR, LF or NUL")
    return b"%s: %s\r\n" % (name, value)


def status_line(status: int) -> bytes:
    """`HTTP/1.1 200 OK`. Raises ResponseError for a status outside 200 to 599: 1xx is not a final answer."""
    if not 200 <= status <= 599:
        raise ResponseError(f"{status} is not a final response status; use 200 to 599")
    return _STATUS_LINES.get(status) or b"HTTP/1.1 %d Unknown\r\n" % status


def interim_line(status: int) -> bytes:
    """`HTTP/1.1 103 Early Hints`. Raises ResponseError for what is no interim status an app may send."""
    if not 102 <= status <= 199:
        raise ResponseError(f"{status} is not an interim response status of an app; use 102 to 199")
    return b"HTTP/1.1 %d %s\r\n" % (status, _INTERIM_PHRASES.get(status, b"Unknown"))


def bodiless(method: str, status: int) -> bool:
    """Whether a response carries no body whatever its fields say (RFC 9112, 6.3)."""
    return method == "HEAD" or status == 204 or status == 304


def bodiless_length(status: int, declared: int | None, length: int) -> int | None:
    """What Content-Length may say of a response without a body: what a GET would have got (RFC 9110, 8.6)."""
    if status == 204:
        return None
    if status == 304:
        return declared
    return length if declared is None else declared


@lru_cache(maxsize=8)
def common_lines(server: bool, second: int, without: frozenset[bytes] = _PLAIN) -> bytes:
    """The lines of every response: date (RFC 9110, 6.6.1; `second` is Unix time) and server."""
    lines = b""
    if server and b"server" not in without:
        lines += b"server: prefork\r\n"
    if b"date" not in without:
        lines += b"date: %s\r\n" % formatdate(second, usegmt=True).encode("ascii")
    return lines
