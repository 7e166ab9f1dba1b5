"""Responses and their cookies: what is sent, and what is refused when it is built."""

from datetime import UTC, datetime
from typing import Any

import pytest

from prefork.errors import ResponseError
from prefork.web import JSONResponse, Redirect, Request, Response
from tests.web.fake_exchange import ask


def sent(response: Response) -> list[tuple[str, str]]:
    async def handler(request: Request) -> Response:
        return response

    return ask(handler).headers.pairs()


@pytest.mark.parametrize(
    ("arguments", "content_type"),
    [
        ({"body": "x"}, "text/plain; charset=utf-8"),
        ({"body": b"x"}, "application/octet-stream"),
        ({}, None),
        ({"body": "x", "content_type": "text/html"}, "text/html; charset=utf-8"),
        ({"body": "x", "content_type": "text/html; charset=latin-1"}, "text/html; charset=latin-1"),
        ({"body": "x", "content_type": "image/svg+xml"}, "image/svg+xml"),
        ({"body": b"x", "content_type": "text/html"}, "text/html"),
        ({"body": "x", "headers": {"Content-Type": "text/css"}}, "text/css"),
        ({"body": "x", "headers": {"Content-Type": "text/css"}, "content_type": "a/b"}, "a/b"),
    ],
)
def test_content_type(arguments: dict[str, Any], content_type: str | None) -> None:
    assert sent(Response(**arguments)) == ([("content-type", content_type)] if content_type else [])


def test_headers_come_from_a_dict_or_from_pairs() -> None:
    assert Response(headers={"X-A": "1"}).fields == ((b"x-a", b"1"),)
    assert Response(headers=[("X-A", "1"), ("x-a", "2")]).headers.get_all("X-a") == ["1", "2"]


def test_headers_of_a_response_can_be_changed_without_touching_another() -> None:
    one, other = Response("x"), Response("x")
    one.headers["Content-Type"] = "text/css"
    one.headers.add("vary", "a")
    one.headers.add("vary", "b")
    assert dict(one.headers) == {"content-type": "text/css", "vary": "a"}
    assert len(one.headers) == 2
    del one.headers["VARY"]
    assert "vary" not in one.headers
    with pytest.raises(KeyError):
        del one.headers["vary"]
    assert other.headers["content-type"] == "text/plain; charset=utf-8"


def test_header_that_is_not_latin1_text_is_refused() -> None:
    for headers in ({"x": "€"}, {"ü": "x"}, {"x": 5}):
        with pytest.raises(ResponseError, match="is not latin-1 text"):
            Response(headers=headers)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["a\r\nset-cookie: x=1", "a\n", "a\0"])
def test_forbidden_byte_in_a_header_is_500_and_a_log_line(value: str, caplog: pytest.LogCaptureFixture) -> None:
    async def handler(request: Request) -> Response:
        return Response("x", headers={"x-evil": value})

    exchange = ask(handler)
    assert (exchange.status, exchange.text) == (500, "Internal Server Error\n")
    assert "x-evil" not in exchange.headers
    assert "x-evil" in caplog.text


def test_status_that_is_no_final_one_is_500() -> None:
    async def handler(request: Request) -> Response:
        return Response(status=101)

    assert ask(handler).status == 500


def test_json_response() -> None:
    response = JSONResponse({"é": 1}, 201, {"x-a": "1"})
    assert (response.status, response.body) == (201, '{"é":1}'.encode())
    assert response.fields == ((b"content-type", b"application/json"), (b"x-a", b"1"))
    with pytest.raises(TypeError):
        JSONResponse(object())


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/a?b=c#d", "/a?b=c#d"),
        ("https://[::1]:80/%20?q=a+b", "https://[::1]:80/%20?q=a+b"),
        ("/café au lait", "/caf%C3%A9%20au%20lait"),
        ('/a\r\nset-cookie: x=1"', "/a%0D%0Aset-cookie:%20x=1%22"),
    ],
)
def test_redirect_encodes_what_a_location_may_not_hold(location: str, expected: str) -> None:
    response = Redirect(location)
    assert (response.status, sent(response)) == (303, [("location", expected)])


def test_redirect_has_a_status_that_redirects() -> None:
    assert Redirect("/", 308).status == 308
    for status in (200, 300, 304):
        with pytest.raises(ValueError, match="redirect's status"):
            Redirect("/", status)


def cookie(*arguments: Any, **options: Any) -> str:
    response = Response()
    response.set_cookie(*arguments, **options)
    return response.headers["set-cookie"]


def test_cookie_is_http_only_and_lax_unless_asked_otherwise() -> None:
    assert cookie("a", "1") == "a=1; Path=/; HttpOnly; SameSite=Lax"
    assert cookie("a", "1", httponly=False, samesite=None, path=None) == "a=1"


def test_cookie_attributes() -> None:
    moment = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    value = cookie("a", "1", max_age=60, expires=moment, path="/x", domain="d.org", secure=True, samesite="none")
    assert value == (
        "a=1; Max-Age=60; Expires=Wed, 02 Jan 2030 03:04:05 GMT; Path=/x; Domain=d.org; Secure; HttpOnly; SameSite=None"
    )


def test_several_cookies_are_several_fields() -> None:
    response = Response()
    response.set_cookie("a", "1")
    response.delete_cookie("b", path="/x")
    assert response.headers.get_all("set-cookie") == [
        "a=1; Path=/; HttpOnly; SameSite=Lax",
        "b=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/x; HttpOnly; SameSite=Lax",
    ]


@pytest.mark.parametrize(
    ("arguments", "options", "complaint"),
    [
        (("",), {}, "not a token"),
        (("a b",), {}, "not a token"),
        (("a", "x;y"), {}, "may not hold"),
        (("a", "x y"), {}, "may not hold"),
        (("a", "x\r\n"), {}, "may not hold"),
        (("a", "é"), {}, "may not hold"),
        (("a",), {"path": "/;x"}, "may not hold"),
        (("a",), {"domain": "d\n"}, "may not hold"),
        (("a",), {"samesite": "Lax"}, "use 'lax'"),
        (("a",), {"samesite": "none"}, "secure=True"),
        (("__Secure-a",), {}, "secure=True"),
        (("__Host-a",), {"secure": True, "path": "/x"}, "path='/'"),
        (("a",), {"expires": datetime(2030, 1, 1)}, "no time zone"),
    ],
)
def test_cookie_that_a_browser_would_drop_is_refused(
    arguments: tuple[str, ...], options: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        cookie(*arguments, **options)
