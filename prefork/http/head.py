"""Read one request head: its bytes in, method, target and fields out, or the error the client must get.

A head is parsed only once it is complete, so the same bytes give the same result however the network cut them. llhttp
checks and splits the fields; what llhttp leaves to its caller (TRAPS of every server built on it) is checked here.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from prefork.errors import RequestError

HEAD_END: Final = b"\r\n\r\n"
METHOD_BYTES: Final = 24  # the longest registered method, UPDATEREDIRECTREF, has 17
SPOKE_TLS: Final = "this port speaks plain HTTP, not TLS: use http://"
KNOWN_FIELDS: Final = 1024  # field lines that need not be split again; beyond, all are forgotten
KNOWN_FIELD_BYTES: Final = 256  # of such a line; with what they were split into, all are less than a megabyte
VERSION_BYTES: Final = len(b" HTTP/1.1\r\n")

_TLS_RECORD: Final = b"\x16\x03"  # a handshake, of any version (RFC 8446, 5.1)
_REQUEST_LINE = re.compile(rb"([A-Z-]+) ([^\x00-\x20\x7f-\xff#]+) HTTP/1\.([01])\r\n")
_BEGINNING = re.compile(_REQUEST_LINE.pattern + rb"(?:[Hh]ost:[ \t]*([^\r]*)\r\n)?")
_VERSION = re.compile(rb"[A-Z]+/\d+(\.\d+)?")
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TARGET_END = re.compile(rb"[\x00-\x20\x7f]|\Z")
_NEVER_IN_A_HEAD = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?!\n|\Z)")
_HOST = re.compile(rb"(?:[A-Za-z0-9\-._~%!$&'()*+;=]*|\[[0-9A-Fa-f:.]+\])(?::\d{0,5})?[ \t]*")
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?]*)(.*)")
# To llhttp Proxy-Connection means what Connection does: after its `close` the parser takes no other message.
# What browsers send, `Connection: keep-alive`, says nothing new.
_FRAMING_FIELD = re.compile(
    rb"\n(?:host:|connection:(?! keep-alive\r)|content-length:|transfer-encoding:|expect:|te:|proxy-connection:)"
)
_FRAMING_FIELDS = re.compile(
    rb"\n(?:host:[ \t]*([^\r]*)|((?:proxy-)?connection|content-length|transfer-encoding|expect|te):)"
)
_METHODS = {method.encode(): method for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")}
_NO_CALLBACKS = object()  # llhttp checks; the lines it has checked can be split by anyone


class _KnownFields(dict[bytes, tuple[bytes, bytes]]):
    """Name and value by line. Clients send most lines again and again."""

    def __missing__(self, line: bytes) -> tuple[bytes, bytes]:
        """Split a line, which llhttp has checked."""
        name, _, value = line.partition(b":")
        field = name.lower(), value.strip()
        if len(line) <= KNOWN_FIELD_BYTES:
            if len(self) >= KNOWN_FIELDS:
                self.clear()
            self[line] = field
        return field


_field_of = _KnownFields().__getitem__


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request head may weigh."""

    target: int  # bytes
    fields: int
    field_bytes: int


class RequestHead:
    """A request as its head declares it; `HeadParser` fills it."""

    __slots__ = (
        "_fields",
        "_raw",
        "chunked",
        "content_length",
        "expects_continue",
        "http_minor",
        "keep_alive",
        "method",
        "takes_trailers",
        "target",
        "upgrades",
    )
    method: str
    target: bytes  # origin form, or b"*"
    http_minor: int
    keep_alive: bool
    content_length: int | None
    chunked: bool
    expects_continue: bool
    takes_trailers: bool  # the client reads trailer fields (RFC 9110, 10.1.4)
    upgrades: bool  # the client offers another protocol on this connection (RFC 9110, 7.8)
    _raw: bytes
    _fields: list[tuple[bytes, bytes]] | None

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        """The header fields in the order sent, names in lower case. Split when first asked for."""
        if self._fields is None:
            lines = self._raw.split(b"\r\n")[1:-2]
            self._fields = [*map(_field_of, lines)]
        return self._fields

    def values(self, name: bytes) -> list[bytes]:
        """The values of all fields of that name, which is in lower case."""
        return [value for key, value in self.fields if key == name]

    def replace_fields(self, fields: list[tuple[bytes, bytes]]) -> None:
        self._fields = fields


class HeadParser:
    """Parses the heads of all connections of a worker, one whole head at a time."""

    __slots__ = ("_llhttp", "_small_bytes", "limits")

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._small_bytes = min(limits.target, limits.field_bytes, limits.fields * len(b"a:\r\n"))  # breaks no limit
        self._llhttp = HttpRequestParser(_NO_CALLBACKS)

    def parse(self, raw: bytes, head: RequestHead) -> None:
        """Fill `head` from `raw`, which ends with its empty line. Raises RequestError (RFC 9112, 2 to 6)."""
        line = _BEGINNING.match(raw)
        if line is None:
            raise refusal(raw, self.limits) or RequestError(400, "malformed request line")
        if len(raw) > self._small_bytes:
            self._check_size(raw, line.end(3) + 2)
        method, head.target, minor, host = line.groups()
        head.method = _METHODS.get(method) or method.decode("ascii")
        head.http_minor = http_minor = 1 if minor == b"1" else 0
        head.keep_alive = http_minor == 1
        head.content_length = None
        head.chunked = head.expects_continue = head.takes_trailers = head.upgrades = False
        head._raw = raw
        head._fields = None
        try:
            self._llhttp.feed_data(raw)
        except HttpParserUpgrade:  # to a protocol we may ignore (RFC 9110, 7.8); the body, if any, is framed by us
            self._llhttp = HttpRequestParser(_NO_CALLBACKS)
            if method == b"CONNECT":
                raise RequestError(400, "CONNECT is for proxies") from None
            head.upgrades = http_minor == 1
        except HttpParserError as error:
            self._llhttp = HttpRequestParser(_NO_CALLBACKS)
            refused = refusal(raw, self.limits)
            if refused is None and head.values(b"transfer-encoding"):
                _check_transfer_encoding(head, str(error))
            raise refused or RequestError(400, str(error)) from None
        if host is None or http_minor == 0 or _FRAMING_FIELD.search(raw.lower(), line.end() - 1):
            framing = _FRAMING_FIELDS.findall(raw.lower())
            if len(framing) == 1 and not framing[0][1] and http_minor:
                host = framing[0][0]  # Host alone frames it, but did not come first
            else:
                # llhttp now expects a body or the end; only after a head that is all of a message may it get another.
                self._llhttp = HttpRequestParser(_NO_CALLBACKS)
                host = _apply_framing(head)
        if not valid_host(host):
            raise RequestError(400, "malformed Host field")
        if head.target[0] != 0x2F:  # "/"
            _reduce_target(head)

    def _check_size(self, raw: bytes, line_end: int) -> None:
        limits = self.limits
        if line_end > limits.target or len(raw) - line_end > limits.field_bytes:
            refused = refusal(raw, limits)
            if refused is not None:
                raise refused
        if len(raw) > limits.fields * len(b"a:\r\n") and raw.count(b"\r\n") - 2 > limits.fields:
            raise refusal(raw, limits) or RequestError(431, f"more than {limits.fields} header fields")


def _apply_framing(head: RequestHead) -> bytes:
    """Read the fields that say how the message is framed. Returns Host's value."""
    hosts = head.values(b"host")
    if len(hosts) > 1 or (not hosts and head.http_minor == 1):
        raise RequestError(400, "more than one Host field" if hosts else "no Host field")
    connection = head.values(b"connection")
    if connection:
        options = [option.strip(b" \t") for option in b",".join(connection).lower().split(b",")]
        head.keep_alive = b"close" not in options and (head.keep_alive or b"keep-alive" in options)
    for length in head.values(b"content-length"):
        head.content_length = int(length)  # llhttp: digits, and once
    if head.values(b"transfer-encoding"):
        _check_transfer_encoding(head, "Transfer-Encoding must be chunked")
        head.chunked = True
    head.takes_trailers = any(b"trailers" in value.lower() for value in head.values(b"te"))
    expected = head.values(b"expect") if head.http_minor == 1 else []
    if any(value.lower() != b"100-continue" for value in expected):
        raise RequestError(417, "only 100-continue may be expected")
    head.expects_continue = bool(expected)
    return hosts[0] if hosts else b""


def _check_transfer_encoding(head: RequestHead, otherwise: str) -> None:
    """Only `chunked` is understood, once and last; before it stands a coding we do not know (RFC 9112, 6.1)."""
    if head.http_minor == 0:
        raise RequestError(400, "Transfer-Encoding in an HTTP/1.0 request")
    if head.values(b"content-length"):
        raise RequestError(400, "both Content-Length and Transfer-Encoding")
    values = b",".join(head.values(b"transfer-encoding"))
    codings = [coding.strip(b" \t").lower() for coding in values.split(b",")]
    if codings == [b"chunked"]:
        return
    if codings[-1] == b"chunked" and b"chunked" not in codings[:-1]:
        raise RequestError(501, "unknown transfer coding")
    raise RequestError(400, otherwise)


def _reduce_target(head: RequestHead) -> None:
    """Absolute form becomes origin form, its authority the host (RFC 9112, 3.2.2); `*` is for OPTIONS alone."""
    if head.target == b"*" and head.method == "OPTIONS":
        return
    absolute = _ABSOLUTE.fullmatch(head.target)
    if absolute is None:
        raise RequestError(400, "the request target must be a path")
    authority, rest = absolute.groups()
    if not authority or not valid_host(authority):
        raise RequestError(400, "malformed authority in the request target")
    if not rest and head.method == "OPTIONS":
        head.target = b"*"
    else:
        head.target = rest if rest[:1] == b"/" else b"/" + rest
    head.replace_fields([(b"host", authority), *(field for field in head.fields if field[0] != b"host")])


@lru_cache(maxsize=256)
def valid_host(host: bytes) -> bool:
    """Whether a Host value is `uri-host [":" port]` (RFC 9112, 3.2). Empty is allowed; a list or user name is not."""
    return _HOST.fullmatch(host) is not None


def refusal(raw: bytes, limits: Limits) -> RequestError | None:
    """What is wrong with a head of which `raw` (one byte or more) has arrived, or None if it may still become good.

    The rules go by position, so that a head cut anywhere gets the status that the whole one gets.
    """
    if raw.startswith(_TLS_RECORD):
        return RequestError(400, SPOKE_TLS)
    method_end = raw.find(b" ", 0, METHOD_BYTES + 1)
    line_end = raw.find(b"\r\n")
    method = raw[: method_end if method_end >= 0 else METHOD_BYTES + 1]
    if method_end >= 0 and _TOKEN.fullmatch(method):
        found = _TARGET_END.search(raw, method_end + 1)
        target_end = found.start() if found else len(raw)
        if target_end - method_end - 1 > limits.target:
            return RequestError(414, f"the request target is longer than {limits.target} bytes")
    longest_line = METHOD_BYTES + 1 + limits.target + VERSION_BYTES
    line = raw[: longest_line + 1 if line_end < 0 else line_end + 2]
    if _NEVER_IN_A_HEAD.search(line):
        return RequestError(400, "a byte that may not stand in a request head")
    if len(line) > longest_line:
        return RequestError(400, "malformed request line")
    if line_end < 0:
        good = _TOKEN.fullmatch(method) and len(method) <= METHOD_BYTES
        return None if good else RequestError(400, "malformed method")
    wrong = _line_refusal(line)
    if wrong is not None:
        return wrong
    if _NEVER_IN_A_HEAD.search(raw, line_end, line_end + 2 + limits.field_bytes):
        return RequestError(400, "a byte that may not stand in a request head")
    if len(raw) - line_end - 2 > limits.field_bytes:
        return RequestError(431, f"the header fields are longer than {limits.field_bytes} bytes")
    return None


def _line_refusal(line: bytes) -> RequestError | None:
    if _REQUEST_LINE.fullmatch(line):
        return None
    parts = line[:-2].split(b" ")
    if not _TOKEN.fullmatch(parts[0]) or len(parts[0]) > METHOD_BYTES:
        return RequestError(400, "malformed method")
    if len(parts) == 2 and parts[1]:
        return RequestError(505, "HTTP/0.9 is not supported")
    if len(parts) == 3 and _VERSION.fullmatch(parts[2]) and parts[2] not in (b"HTTP/1.0", b"HTTP/1.1"):
        return RequestError(505, "only HTTP/1.0 and HTTP/1.1 are supported")
    return RequestError(400, "malformed request line")
