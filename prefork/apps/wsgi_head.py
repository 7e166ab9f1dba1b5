"""What an app gives to `start_response`, checked while the app still runs (PEP 3333), and encoded."""

import logging
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from prefork.errors import ResponseError
from prefork.http.encoding import encode_line, status_line

Field = tuple[bytes, bytes]

KNOWN_FIELDS: Final = 1024  # that need not be checked again; beyond, all are forgotten
KNOWN_CHARACTERS: Final = 128  # of a value: content types and cache rules repeat; cookies do not

KNOWN_STATUSES: Final = {f"{status.value} {status.phrase}": status.value for status in HTTPStatus if status >= 200}
_NOTHING: Final = ()  # of a field that is not sent on
_KNOWN: Final[dict[tuple[str, str], Field | int | tuple[()]]] = {}
# Fields of the connection, not of the response (RFC 9110, 7.6.1). The server has its own word on these.
_HOP_BY_HOP: Final = frozenset(
    ("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade")
)

_log = logging.getLogger("prefork.app")


def read_status(status: str) -> int:
    """`404 Not Found` is 404. The reason phrase is not sent on: the standard one is. Raises ResponseError."""
    if not isinstance(status, str):
        raise ResponseError(f"PEP 3333: the status is a str such as '200 OK', not {type(status).__qualname__}")
    code = status[:3]
    if not (len(code) == 3 and code.isascii() and code.isdigit()) or (len(status) > 3 and status[3] != " "):
        raise ResponseError(f"PEP 3333: the status is three digits, a space and a reason, not {status!r}")
    status_line(int(code))
    return int(code)


def read_fields(headers: Iterable[tuple[str, str]]) -> tuple[tuple[Field, ...], int | None]:
    """The header fields, without Content-Length, and the length it declares. Raises ResponseError."""
    fields: list[Field] = []
    declared: int | None = None
    try:
        for header in headers:
            field = _KNOWN.get(header)
            if field is None:
                field = _read_field(*header)
            if type(field) is int:
                if declared is not None and declared != field:
                    raise ResponseError(f"Content-Length is declared twice: {declared} and {field}")
                declared = field
            elif field:
                fields.append(field)  # type: ignore[arg-type]  # neither an int nor nothing
    except TypeError:
        raise ResponseError(f"PEP 3333: the headers are a list of (name, value) tuples, not {headers!r}") from None
    return tuple(fields), declared


def _read_field(name: str, value: str) -> Field | int | tuple[()]:
    """One field; of Content-Length its number; nothing of a field that is not sent on. Raises ResponseError."""
    for what, found in (("name", name), ("value", value)):
        if not isinstance(found, str):
            raise ResponseError(f"PEP 3333: the {what} of header {name!r} is a str, not {type(found).__qualname__}")
    field = _encode(name, value)
    if len(value) <= KNOWN_CHARACTERS:
        if len(_KNOWN) >= KNOWN_FIELDS:
            _KNOWN.clear()
        _KNOWN[name, value] = field
    return field


def _encode(name: str, value: str) -> Field | int | tuple[()]:
    lower = name.lower()
    if lower == "content-length":
        if not (value.isascii() and value.isdigit()):
            raise ResponseError(f"Content-Length is {value!r}; it must be a number of bytes")
        return int(value)
    if lower in _HOP_BY_HOP:
        if lower == "connection" and value.strip().lower() == "close":
            return b"connection", b"close"
        _log.warning("the app's header %s: %s is left out: it is hop-by-hop, the server's own (PEP 3333)", name, value)
        return _NOTHING
    try:
        field = name.encode("latin-1"), value.encode("latin-1")
    except UnicodeEncodeError:
        raise ResponseError(f"PEP 3333: header {name!r} holds characters that are not in latin-1: {value!r}") from None
    encode_line(*field)
    return field
