"""Whole responses: what a handler returns when the body is at hand."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, ClassVar
from urllib.parse import quote

import msgspec

from prefork.errors import ResponseError
from prefork.jobs.references import name_of
from prefork.web.cookies import LONG_AGO, SameSite, format_cookie
from prefork.web.exchange import Exchange
from prefork.web.headers import FieldTuple, HeaderInput, ResponseHeaders, encode_field, encode_headers

TEXT: FieldTuple = ((b"content-type", b"text/plain; charset=utf-8"),)
BINARY: FieldTuple = ((b"content-type", b"application/octet-stream"),)
JSON: FieldTuple = ((b"content-type", b"application/json"),)

REDIRECTS = (301, 302, 303, 307, 308)
# What may stand in a URI reference as it is (RFC 3986, 2); the percent sign, so that encoded parts stay as they are.
_URI_SAFE = "%:/?#[]@!$&'()*+,;=-._~"

encode_json = msgspec.json.Encoder().encode


class Response:
    """A response: `body` as str (sent as UTF-8) or bytes, `status` 200 to 599, header fields.

    Without a content type, str is text/plain, bytes are application/octet-stream and an empty body has none. Text
    types get `charset=utf-8` when the body is str. Raises ResponseError when a header is not latin-1 text.
    """

    __slots__ = ("body", "fields", "status")

    streams: ClassVar[bool] = False  # True: `send` writes the response; False: it is `status`, `fields` and `body`

    def __init__(
        self,
        body: str | bytes = b"",
        status: int = 200,
        headers: HeaderInput = None,
        content_type: str | None = None,
    ) -> None:
        self.status = status
        fields: FieldTuple
        if isinstance(body, str):
            self.body = body.encode()
            fields = TEXT
            if content_type is not None:
                content_type = with_charset(content_type)
        else:
            self.body = body
            fields = BINARY if body else ()
        if headers is None and content_type is None:
            self.fields = fields
        else:
            self.fields = build_fields(fields, headers, content_type)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.status}>"

    @property
    def headers(self) -> ResponseHeaders:
        """The header fields, to read and change: `response.headers["cache-control"] = "no-store"`."""
        return ResponseHeaders(self)

    def set_cookie(
        self,
        name: str,
        value: str = "",
        *,
        max_age: int | None = None,
        expires: datetime | None = None,
        path: str | None = "/",
        domain: str | None = None,
        secure: bool = False,
        httponly: bool = True,
        samesite: SameSite | None = "lax",
    ) -> None:
        """Add a Set-Cookie field (RFC 6265, 4.1). `max_age` in seconds; without an age it lasts the session.

        Raises ValueError for a name, value or combination that browsers would drop.
        """
        cookie = format_cookie(
            name,
            value,
            max_age=max_age,
            expires=expires,
            path=path,
            domain=domain,
            secure=secure,
            httponly=httponly,
            samesite=samesite,
        )
        self.headers.add("set-cookie", cookie)

    def delete_cookie(
        self,
        name: str,
        *,
        path: str | None = "/",
        domain: str | None = None,
        secure: bool = False,
        httponly: bool = True,
        samesite: SameSite | None = "lax",
    ) -> None:
        """Make the browser forget a cookie. Path, domain and secure must be those it was set with."""
        self.set_cookie(
            name,
            max_age=0,
            expires=LONG_AGO,
            path=path,
            domain=domain,
            secure=secure,
            httponly=httponly,
            samesite=samesite,
        )

    async def send(self, exchange: Exchange) -> None:
        """Write this response. Raises ResponseError, Disconnected."""
        exchange.respond(self.status, self.fields, self.body)


class JSONResponse(Response):
    """`data` as JSON: anything msgspec can encode. Raises TypeError for what it cannot."""

    __slots__ = ()

    def __init__(self, data: Any, status: int = 200, headers: HeaderInput = None) -> None:
        self.status = status
        self.body = encode_json(data)
        self.fields = JSON if headers is None else build_fields(JSON, headers, None)


class Redirect(Response):
    """Send the client to `location`: 303 (default) makes it GET, 307 and 308 keep the method (RFC 9110, 15.4).

    Characters that a URI may not hold are percent-encoded. Raises ValueError for another status.
    """

    __slots__ = ()

    def __init__(self, location: str, status: int = 303, headers: HeaderInput = None) -> None:
        if status not in REDIRECTS:
            raise ValueError(f"a redirect's status is one of {REDIRECTS}, not {status}")
        super().__init__(b"", status, headers)
        self.headers["location"] = quote(location, safe=_URI_SAFE)


def as_response(result: object, handler: Callable[..., object]) -> Response:
    """What `handler` returned, as a Response. Raises ResponseError naming the handler if it cannot be one."""
    if isinstance(result, Response):
        return result
    if isinstance(result, str):
        return Response(result)
    if result is None:
        return Response(status=204)
    if isinstance(result, bytes):
        response = Response(result)
        response.fields = BINARY  # also when it is empty
        return response
    try:
        return JSONResponse(result)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ResponseError(
            f"{name_of(handler)} returned {type(result).__qualname__}, which is no Response, str, bytes, None or JSON"
            f" value: {error}"
        ) from None


def with_charset(content_type: str) -> str:
    """The content type, with `charset=utf-8` if it is a text type that does not say."""
    if content_type.startswith("text/") and "charset" not in content_type:
        return content_type + "; charset=utf-8"
    return content_type


def build_fields(default: FieldTuple, headers: HeaderInput, content_type: str | None) -> FieldTuple:
    """Fields with one content type: `content_type`, else the one in `headers`, else `default`."""
    fields = encode_headers(headers)
    if content_type is not None:
        others = tuple(field for field in fields if field[0] != b"content-type")
        return (encode_field("content-type", content_type), *others)
    if any(name == b"content-type" for name, _ in fields):
        return fields
    return (*default, *fields)
