"""Decide which part of a file answers a request: conditions (RFC 9110, 13) and ranges (RFC 9110, 14). No I/O here."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple

from prefork.web.headers import Headers

RANGES: Final = 16  # in one request; a player or a PDF viewer asks for a few, an attacker for thousands

_RANGE = re.compile(r"(\d{0,18})-(\d{0,18})")
_UNIT = re.compile(r"bytes[ \t]*=", re.IGNORECASE)
_ETAG = re.compile(r'(W/)?("[^"]*")')
_CONDITIONS: Final = frozenset(
    {b"if-match", b"if-unmodified-since", b"if-none-match", b"if-modified-since", b"range", b"if-range"}
)


class Span(NamedTuple):
    """`length` bytes from `offset`."""

    offset: int
    length: int


class Part(NamedTuple):
    """`status` 200 whole, 206 partial, 304 unchanged, 412 the condition is not met, 416 no such part.

    `spans` are what to send, in order: one for 200, one or several for 206, none else.
    """

    status: int
    spans: tuple[Span, ...] = ()


_UNCHANGED: Final = Part(304)
_FAILED: Final = Part(412)
_NO_SUCH_PART: Final = Part(416)


def choose_part(method: str, fields: Sequence[tuple[bytes, bytes]], size: int, etag: str, modified: int) -> Part:
    """What to send of a file of `size` bytes with a strong `etag`, last `modified` at that Unix time.

    `fields` are the request's. Conditions come in the order of RFC 9110, 13.2.2. A Range that cannot be read is
    answered with the whole file (RFC 9110, 14.2), and so is one of more than 16 ranges, of ranges that overlap, or
    that is no shorter than the file: it asks for more work than the file is worth.
    """
    whole = Part(200, (Span(0, size),))
    conditions = [field for field in fields if field[0] in _CONDITIONS]
    if not conditions or method not in ("GET", "HEAD"):
        return whole
    headers = Headers(conditions)
    if not _is_expected(headers, etag, modified):
        return _FAILED
    if _is_unchanged(headers, etag, modified):
        return _UNCHANGED
    wanted = headers.get("range")
    if wanted is None or method != "GET" or size == 0 or not _range_applies(headers, etag, modified):
        return whole
    return _cut(wanted, size) or whole


def _is_expected(headers: Headers, etag: str, modified: int) -> bool:
    """If-Match and, without it, If-Unmodified-Since (RFC 9110, 13.1.1 and 13.1.4)."""
    tags = headers.get_all("if-match")
    if tags:
        return _is_any(tags) or any(not weak and tag == etag for weak, tag in _listed(tags))
    since = _unix_time(headers.get("if-unmodified-since"))
    return since is None or modified <= since


def _is_unchanged(headers: Headers, etag: str, modified: int) -> bool:
    tags = headers.get_all("if-none-match")
    if tags:  # then the date does not count (RFC 9110, 13.1.3)
        return _is_any(tags) or any(tag == etag for _, tag in _listed(tags))
    since = _unix_time(headers.get("if-modified-since"))
    return since is not None and modified <= since


def _is_any(tags: list[str]) -> bool:
    return ",".join(tags).strip() == "*"


def _listed(tags: list[str]) -> list[tuple[str, str]]:
    """Each tag of a list, with `W/` or nothing before it."""
    return _ETAG.findall(",".join(tags))


def _range_applies(headers: Headers, etag: str, modified: int) -> bool:
    """If-Range: a part fits only what the client has of the very same file (RFC 9110, 13.1.5)."""
    condition = headers.get("if-range")
    if condition is None:
        return True
    if condition.startswith(('"', "W/")):
        return condition == etag
    return _unix_time(condition) == modified


def _cut(wanted: str, size: int) -> Part | None:
    """The spans a Range asks for, in its order; None for the whole file."""
    unit = _UNIT.match(wanted)
    if unit is None:
        return None
    ranges = [text for item in wanted[unit.end() :].split(",") if (text := item.strip(" \t"))]
    if not 0 < len(ranges) <= RANGES:
        return None
    spans: list[Span] = []
    for text in ranges:
        match = _RANGE.fullmatch(text)
        if match is None:
            return None
        first, last = match.groups()
        if not first and not last:
            return None
        if first and last and int(last) < int(first):
            return None
        start = int(first) if first else max(size - int(last), 0)
        end = min(int(last), size - 1) if first and last else size - 1
        if start < size:
            spans.append(Span(start, end - start + 1))
    if not spans:
        return _NO_SUCH_PART
    if len(spans) > 1 and (_overlap(spans) or sum(span.length for span in spans) >= size):
        return None
    return Part(206, tuple(spans))


def _overlap(spans: list[Span]) -> bool:
    end = 0
    for span in sorted(spans):
        if span.offset < end:
            return True
        end = span.offset + span.length
    return False


def _unix_time(date: str | None) -> int | None:
    if date is None:
        return None
    try:
        moment = parsedate_to_datetime(date)
    except (ValueError, OverflowError):  # the other for a year or a zone of many digits
        return None
    if moment.tzinfo is None:  # "-0000", which email reads as an unknown zone
        moment = moment.replace(tzinfo=UTC)
    return int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
