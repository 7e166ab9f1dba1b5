"""Read one request head: its bytes in, method, target and fields out, or the error the client must get.

A head is parsed only once it is complete, so the same bytes give the same result however the network cut them. llhttp
checks and splits the fields; what llhttp leaves to its caller (TRAPS of every server built on it) is checked here.
"""

import re
from functools import lru_cache
from typing import Final, NamedTuple

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from prefork.errors import RequestError

HEAD_END: Final = b"\r\n\r\n"
METHOD_BYTES: Final = 24  # the longest registered method, UPDATEREDIRECTREF, has 17
VERSION_BYTES: Final = len(b" HTTP/1.1\r\n")

_REQUEST_LINE = re.compile(rb"([A-Z-]+) ([^\x00-\x20\x7f-\xff#]+) HTTP/1\.([01])\r\n")
_VERSION = re.compile(rb"[A-Z]+/\d+(\.\d+)?")
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TARGET_END = re.compile(rb"[\x00-\x20\x7f]|\Z")
_NEVER_IN_A_HEAD = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?!\n|\Z)")
_HOST = re.compile(rb"(?:[A-Za-z0-9\-._~%!$&'()*+;=]*|\[[0-9A-Fa-f:.]+\])(?::\d{0,5})?")
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?]*)(.*)")
_SPECIAL = frozenset({b"host", b"connection", b"content-length", b"transfer-encoding", b"expect", b"upgrade"})


class Limits(NamedTuple):
    """What a request head may weigh: bytes of target, number of fields, bytes of fields."""

    target: int
    fields: int
    field_bytes: int


class RequestHead:
    """A request as its head declares it."""

    __slots__ = (
        "chunked",
        "content_length",
        "expects_continue",
        "fields",
        "http_minor",
        "keep_alive",
        "method",
        "target",
    )
    method: str
    target: bytes  # origin form, or b"*"
    fields: list[tuple[bytes, bytes]]  # names in lower case, in the order sent
    http_minor: int
    keep_alive: bool
    content_length: int | None
    chunked: bool
    expects_continue: bool

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by llhttp for each field."""
        self.fields.append((name.lower(), value.rstrip(b" \t")))

    def parse(self, raw: bytes, limits: Limits) -> None:
        """Fill this head from `raw`, which ends with its empty line. Raises RequestError (RFC 9112, 2 to 6)."""
        line = _REQUEST_LINE.match(raw)
        if line is None or line.end(2) - line.start(2) > limits.target or len(raw) - line.end() > limits.field_bytes:
            raise refusal(raw, limits) or RequestError(400, "malformed request line")
        method, self.target, minor = line.groups()
        self.method = method.decode("ascii")
        self.http_minor = 1 if minor == b"1" else 0
        self.keep_alive = self.http_minor == 1
        self.content_length = None
        self.chunked = self.expects_continue = False
        self.fields = []
        try:
            HttpRequestParser(self).feed_data(raw)
        except HttpParserUpgrade:
            pass  # a protocol we may ignore (RFC 9110, 7.8); the body, if any, is framed by us
        except HttpParserError as error:
            self._check_transfer_encoding(str(error))
            raise RequestError(400, str(error)) from None
        if len(self.fields) > limits.fields:
            raise RequestError(431, f"more than {limits.fields} header fields")
        self._apply_fields()

    def _apply_fields(self) -> None:
        host: bytes | None = None
        for name, value in self.fields:
            if name not in _SPECIAL:
                continue
            if name == b"host":
                if host is not None:
                    raise RequestError(400, "more than one Host field")
                host = value
            elif name == b"connection":
                options = [option.strip(b" \t") for option in value.lower().split(b",")]
                if b"close" in options:
                    self.keep_alive = False
                elif b"keep-alive" in options and self.http_minor == 0:
                    self.keep_alive = True
            elif name == b"content-length":
                self.content_length = int(value)
            elif name == b"transfer-encoding":
                self.chunked = True
            elif name == b"expect" and self.http_minor == 1:
                if value.lower() != b"100-continue":
                    raise RequestError(417, "only 100-continue may be expected")
                self.expects_continue = True
        if self.chunked:
            self._check_transfer_encoding("Transfer-Encoding must be chunked")
        if host is None:
            if self.http_minor == 1:
                raise RequestError(400, "no Host field")
        elif not valid_host(host):
            raise RequestError(400, "malformed Host field")
        if self.target[0] != 0x2F:  # "/"
            self._reduce_target()

    def _check_transfer_encoding(self, otherwise: str) -> None:
        """Only `chunked` is understood, once and last; before it stands a coding we do not know (RFC 9112, 6.1)."""
        values = [value for name, value in self.fields if name == b"transfer-encoding"]
        if not values:
            return
        if self.http_minor == 0:
            raise RequestError(400, "Transfer-Encoding in an HTTP/1.0 request")
        if any(name == b"content-length" for name, _ in self.fields):
            raise RequestError(400, "both Content-Length and Transfer-Encoding")
        codings = [coding.strip(b" \t").lower() for coding in b",".join(values).split(b",")]
        if codings == [b"chunked"]:
            return
        if codings[-1] == b"chunked" and b"chunked" not in codings[:-1]:
            raise RequestError(501, "unknown transfer coding")
        raise RequestError(400, otherwise)

    def _reduce_target(self) -> None:
        """Absolute form becomes origin form, its authority the host (RFC 9112, 3.2.2); `*` is for OPTIONS alone."""
        if self.target == b"*" and self.method == "OPTIONS":
            return
        absolute = _ABSOLUTE.fullmatch(self.target)
        if absolute is None or self.method == "CONNECT":
            raise RequestError(400, "the request target must be a path")
        authority, rest = absolute.groups()
        if not authority or not valid_host(authority):
            raise RequestError(400, "malformed authority in the request target")
        if not rest and self.method == "OPTIONS":
            self.target = b"*"
        else:
            self.target = rest if rest[:1] == b"/" else b"/" + rest
        self.fields = [(b"host", authority), *(field for field in self.fields if field[0] != b"host")]


@lru_cache(maxsize=256)
def valid_host(host: bytes) -> bool:
    """Whether a Host value is `uri-host [":" port]` (RFC 9112, 3.2). Empty is allowed; a list or user name is not."""
    return _HOST.fullmatch(host) is not None


def refusal(raw: bytes, limits: Limits) -> RequestError | None:
    """What is wrong with a head of which `raw` (one byte or more) has arrived, or None if it may still become good.

    The rules go by position, so that a head cut anywhere gets the status that the whole one gets.
    """
    method_end = raw.find(b" ", 0, METHOD_BYTES + 1)
    line_end = raw.find(b"\r\n")
    method = raw[: method_end if method_end >= 0 else METHOD_BYTES + 1]
    if method_end >= 0 and _TOKEN.fullmatch(method):
        found = _TARGET_END.search(raw, method_end + 1)
        target_end = found.start() if found else len(raw)
        if target_end - method_end - 1 > limits.target:
            return RequestError(414, f"the request target is longer than {limits.target} bytes")
    longest_line = METHOD_BYTES + 1 + limits.target + VERSION_BYTES
    visible = raw[: longest_line if line_end < 0 else line_end + 2 + limits.field_bytes]
    if _NEVER_IN_A_HEAD.search(visible):
        return RequestError(400, "a byte that may not stand in a request head")
    if line_end >= 0:
        wrong = _line_refusal(raw[: line_end + 2])
        if wrong is not None:
            return wrong
        if len(raw) - line_end - 2 > limits.field_bytes:
            return RequestError(431, f"the header fields are longer than {limits.field_bytes} bytes")
        return None
    if not _TOKEN.fullmatch(method) or len(method) > METHOD_BYTES:
        return RequestError(400, "malformed method")
    if len(raw) > longest_line:
        return RequestError(400, "malformed request line")
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
