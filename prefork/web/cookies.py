"""Read and write cookies (RFC 6265)."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Literal

SameSite = Literal["lax", "strict", "none"]

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\x21\x23-\x2B\x2D-\x3A\x3C-\x5B\x5D-\x7E]*")
_ATTRIBUTE = re.compile(r"[\x20-\x3A\x3C-\x7E]*")
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def parse_cookies(values: Iterable[str]) -> dict[str, str]:
    """Cookies from the Cookie fields of a request. Of a repeated name the first counts: its path is the closest."""
    cookies: dict[str, str] = {}
    for value in values:
        for pair in value.split(";"):
            name, equals, content = pair.partition("=")
            if equals:
                cookies.setdefault(name.strip(" \t"), _unquoted(content.strip(" \t")))
    return cookies


def _unquoted(content: str) -> str:
    if len(content) >= 2 and content[0] == content[-1] == '"':
        return content[1:-1]
    return content


def format_cookie(
    name: str,
    value: str,
    *,
    max_age: int | None = None,
    expires: datetime | None = None,
    path: str | None = "/",
    domain: str | None = None,
    secure: bool = False,
    httponly: bool = True,
    samesite: SameSite | None = "lax",
) -> str:
    """The value of a Set-Cookie field. `max_age` in seconds; `expires` must know its time zone.

    Raises ValueError for what a browser would drop or read as something else.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"cookie name {name!r} is not a token")
    if not _VALUE.fullmatch(value):
        raise ValueError(
            f"cookie {name}: the value may not hold spaces, quotes, commas, semicolons, backslashes or anything but"
            " ASCII; encode it, for example by urllib.parse.quote()"
        )
    for attribute in (path, domain):
        if attribute is not None and not _ATTRIBUTE.fullmatch(attribute):
            raise ValueError(f"cookie {name}: {attribute!r} may not hold semicolons, control bytes or non-ASCII")
    if samesite not in (None, "lax", "strict", "none"):
        raise ValueError(f"cookie {name}: samesite is {samesite!r}; use 'lax', 'strict', 'none' or None")
    if samesite == "none" and not secure:
        raise ValueError(f"cookie {name}: browsers refuse samesite='none' without secure=True")
    if name.startswith("__Secure-") and not secure:
        raise ValueError(f"cookie {name}: the prefix __Secure- asks for secure=True")
    if name.startswith("__Host-") and not (secure and path == "/" and domain is None):
        raise ValueError(f"cookie {name}: the prefix __Host- asks for secure=True, path='/' and no domain")
    parts = [f"{name}={value}"]
    if max_age is not None:
        parts.append(f"Max-Age={int(max_age)}")
    if expires is not None:
        parts.append(f"Expires={_date(name, expires)}")
    if path is not None:
        parts.append(f"Path={path}")
    if domain is not None:
        parts.append(f"Domain={domain}")
    if secure:
        parts.append("Secure")
    if httponly:
        parts.append("HttpOnly")
    if samesite is not None:
        parts.append(f"SameSite={samesite.capitalize()}")
    return "; ".join(parts)


def _date(name: str, moment: datetime) -> str:
    if moment.tzinfo is None:
        raise ValueError(f"cookie {name}: expires has no time zone")
    return format_datetime(moment.astimezone(UTC), usegmt=True)
