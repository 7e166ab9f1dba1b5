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
_METHODS = {method.encode(): method for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")}
_NO_CALLBACKS = object()  # llhttp checks; the lines it has checked can be split by anyone


class Limits(NamedTuple):
    """What a request head may weigh: bytes of target, number of fields, bytes of fields."""

    target: int
    fields: int
    field_bytes: int

    @property
    def harmless(self) -> int:
        """A head of up to this many bytes cannot break a limit on bytes."""
        return min(self.target, self.field_bytes)


class RequestHead:
    """A request as its head declares it."""

    __slots__ = (
        "_fields",
        "_raw",
        "chunked",
        "content_length",
        "expects_continue",
        "http_minor",
        "keep_alive",
        "method",
        "target",
    )
    method: str
    target: bytes  # origin form, or b"*"
    http_minor: int
    keep_alive: bool
    content_length: int | None
    chunked: bool
    expects_continue: bool

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        """The header fields in the order sent, names in lower case. Split when first asked for."""
        if self._fields is None:
            lines = (line.partition(b":") for line in self._raw.split(b"\r\n")[1:-2])  # llhttp has checked each
            self._fields = [(name.lower(), value.strip(b" \t")) for name, _, value in lines]
        return self._fields

    def values(self, name: bytes) -> list[bytes]:
        """The values of all fields of that name, which is in lower case."""
        return [value for key, value in self.fields if key == name]

    def parse(self, raw: bytes, limits: Limits) -> None:
        """Fill this head from `raw`, which ends with its empty line. Raises RequestError (RFC 9112, 2 to 6)."""
        line = _REQUEST_LINE.match(raw)
        if line is None or len(raw) > limits.harmless:
            refused = refusal(raw, limits)
            if refused is not None or line is None:
                raise refused or RequestError(400, "malformed request line")
        method, self.target, minor = line.groups()
        self.method = _METHODS.get(method) or method.decode("ascii")
        self.keep_alive = minor == b"1"
        self.http_minor = 1 if minor == b"1" else 0
        self.content_length = None
        self.chunked = self.expects_continue = False
        self._raw = raw
        self._fields: list[tuple[bytes, bytes]] | None = None
        try:
            HttpRequestParser(_NO_CALLBACKS).feed_data(raw)
        except HttpParserUpgrade:
            pass  # a protocol we may ignore (RFC 9110, 7.8); the body, if any, is framed by us
        except HttpParserError as error:
            if b"\r\ntransfer-encoding:" in raw.lower():
                self._check_transfer_encoding(str(error))
            raise RequestError(400, str(error)) from None
        if raw.count(b"\r\n") - 2 > limits.fields:
            raise RequestError(431, f"more than {limits.fields} header fields")
        self._apply_fields(raw.lower())

    def _apply_fields(self, lower: bytes) -> None:
        """Read the fields that frame the message. Most requests have one of them, Host: look before splitting."""
        host = lower.find(b"\r\nhost:")
        if host >= 0:
            if not valid_host(lower[host + 7 : lower.find(b"\r\n", host + 7)].strip(b" \t")):
                raise RequestError(400, "malformed Host field")
            if lower.find(b"\r\nhost:", host + 7) >= 0:
                raise RequestError(400, "more than one Host field")
        elif self.http_minor:
            raise RequestError(400, "no Host field")
        if b"\r\nconnection:" in lower:
            options = [option.strip(b" \t") for option in b",".join(self.values(b"connection")).lower().split(b",")]
            self.keep_alive = b"close" not in options and (self.keep_alive or b"keep-alive" in options)
        if b"\r\ncontent-length:" in lower:
            self.content_length = int(self.values(b"content-length")[0])  # llhttp: digits, and once
        if b"\r\ntransfer-encoding:" in lower:
            self._check_transfer_encoding("Transfer-Encoding must be chunked")
            self.chunked = True
        if self.http_minor and b"\r\nexpect:" in lower:
            if any(value.lower() != b"100-continue" for value in self.values(b"expect")):
                raise RequestError(417, "only 100-continue may be expected")
            self.expects_continue = True
        if self.target[0] != 0x2F:  # "/"
            self._reduce_target()

    def _check_transfer_encoding(self, otherwise: str) -> None:
        """Only `chunked` is understood, once and last; before it stands a coding we do not know (RFC 9112, 6.1)."""
        if self.http_minor == 0:
            raise RequestError(400, "Transfer-Encoding in an HTTP/1.0 request")
        if self.values(b"content-length"):
            raise RequestError(400, "both Content-Length and Transfer-Encoding")
        values = b",".join(self.values(b"transfer-encoding"))
        codings = [coding.strip(b" \t").lower() for coding in values.split(b",")]
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
        self._fields = [(b"host", authority), *(field for field in self.fields if field[0] != b"host")]


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
