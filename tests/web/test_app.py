"""What a handler may return, what is a handler, and how large a body it takes."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from prefork.web import App, Request, Response
from tests.web.fake_exchange import ask


class Point(msgspec.Struct):
    x: int


@dataclass
class Name:
    name: str


@pytest.mark.parametrize(
    ("result", "status", "content_type", "body"),
    [
        ("é", 200, "text/plain; charset=utf-8", "é".encode()),
        (b"ab", 200, "application/octet-stream", b"ab"),
        (b"", 200, "application/octet-stream", b""),
        (None, 204, None, b""),
        ({"a": [1, None]}, 200, "application/json", b'{"a":[1,null]}'),
        (("body", 201), 200, "application/json", b'["body",201]'),
        (0, 200, "application/json", b"0"),
        (False, 200, "application/json", b"false"),
        (Point(1), 200, "application/json", b'{"x":1}'),
        (Name("n"), 200, "application/json", b'{"name":"n"}'),
        (Response("x", 418), 418, "text/plain; charset=utf-8", b"x"),
    ],
)
def test_handler_may_return(result: Any, status: int, content_type: str | None, body: bytes) -> None:
    async def handler(request: Request) -> Any:
        return result

    app = App()
    app.get("/")(handler)
    for target in (app, handler):
        exchange = ask(target)
        assert (exchange.status, exchange.headers.get("content-type"), exchange.body) == (status, content_type, body)


@pytest.mark.parametrize("result", [object(), {(1, 2): 3}, iter([1]), Response])
def test_result_that_is_no_response_is_500_and_the_log_names_handler_and_type(
    result: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(request: Request) -> Any:
        return result

    app = App()
    app.get("/")(broken)
    for target in (app, broken):
        caplog.clear()
        exchange = ask(target)
        assert (exchange.status, exchange.text) == (500, "Internal Server Error\n")
        assert "broken" in caplog.text
        assert type(result).__qualname__ in caplog.text


def test_max_body_of_a_route_replaces_the_setting_also_when_mounted() -> None:
    app, inner = App(), App()
    app.mount("/in", inner)

    @app.post("/")
    async def plain(request: Request) -> bytes:
        return await request.body()

    @inner.post("/large", max_body=20)
    async def large(request: Request) -> bytes:
        return await request.body()

    assert ask(app, "POST", body=b"x" * 10, max_body=10).status == 200
    assert ask(app, "POST", body=b"x" * 11, max_body=10).status == 413
    assert ask(app, "POST", "/in/large", body=b"x" * 20, max_body=10).status == 200
    assert ask(app, "POST", "/in/large", body=b"x" * 21, max_body=10).status == 413
    assert ask(app, "POST", body=[b"x" * 6, b"x" * 5], max_body=10).status == 413


def test_what_is_no_handler_is_refused_when_defined() -> None:
    async def generator(request: Request) -> AsyncIterator[str]:
        yield "x"

    async def none() -> None: ...

    for handler, complaint in [
        ("text", "a handler is a function, not str"),
        (Point, "Point is a class"),
        (generator, "is a generator"),
        (none, r"must take \(request\)"),
    ]:
        with pytest.raises(TypeError, match=complaint):
            App().get("/")(handler)  # type: ignore[type-var]
