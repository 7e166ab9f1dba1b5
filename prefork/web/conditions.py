"""Decide which part of a file answers a request: conditions (RFC 9110, 13) and ranges (RFC 9110, 14). No I/O here."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from prefork.web.headers import Headers

_BYTES = re.compile(r"bytes[ \t]*=[ \t]*(\d{0,18})-(\d{0,18})[ \t]*", re.IGNORECASE)
_ETAG = re.compile(r'(?:W/)?("[^"]*")')


class Part(NamedTuple):
    """`status` 200 whole, 206 partial, 304 unchanged, 416 no such part; `offset` and `length` in bytes."""

    status: int
    offset: int
    length: int


def choose_part(method: str, headers: Headers, size: int, etag: str, modified: int) -> Part:
    """What to send of a file of `size` bytes with a strong `etag`, last `modified` at that Unix time.

    Several ranges in one request, and ranges that cannot be read, are answered with the whole file (RFC 9110, 14.2).
    """
    if method not in ("GET", "HEAD"):
        return Part(200, 0, size)
    if _is_unchanged(headers, etag, modified):
        return Part(304, 0, 0)
    wanted = headers.get("range")
    if wanted is None or method != "GET" or size == 0 or not _range_applies(headers, etag, modified):
        return Part(200, 0, size)
    return _cut(wanted, size)


def _is_unchanged(headers: Headers, etag: str, modified: int) -> bool:
    tags = headers.get_all("if-none-match")
    if tags:  # then the date does not count (RFC 9110, 13.1.3)
        listed = ",".join(tags)
        return listed.strip() == "*" or etag in _ETAG.findall(listed)
    since = _unix_time(headers.get("if-modified-since"))
    return since is not None and modified <= since


def _range_applies(headers: Headers, etag: str, modified: int) -> bool:
    """If-Range: a part fits only what the client has of the very same file (RFC 9110, 13.1.5)."""
    condition = headers.get("if-range")
    if condition is None:
        return True
    if condition.startswith(('"', "W/")):
        return condition == etag
    return _unix_time(condition) == modified


def _cut(wanted: str, size: int) -> Part:
    match = _BYTES.fullmatch(wanted)
    if match is None:
        return Part(200, 0, size)
    first, last = match.groups()
    if first:
        start = int(first)
        end = min(int(last), size - 1) if last else size - 1
        if last and int(last) < start:
            return Part(200, 0, size)  # not a valid range
    elif last:
        start, end = max(size - int(last), 0), size - 1
    else:
        return Part(200, 0, size)
    if start >= size:
        return Part(416, 0, 0)
    return Part(206, start, end - start + 1)


def _unix_time(date: str | None) -> int | None:
    if date is None:
        return None
    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        return None
    if moment.tzinfo is None:  # "-0000", which email reads as an unknown zone
        moment = moment.replace(tzinfo=UTC)
    return int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
