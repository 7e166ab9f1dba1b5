"""The template of a route, as frameworks tell it: never the path that a client has chosen."""

import asyncio
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from flask import Flask
from litestar import Litestar
from litestar import get as litestar_get
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Host, Mount, Route
from werkzeug.test import EnvironBuilder

from prefork.apps import routes
from prefork.apps.routes import asgi_route, wsgi_route
from prefork.web.asgi_types import AsgiApp, Message


def hello(request: Request) -> Response:
    return PlainTextResponse("hello")


def twice(request: Request) -> Response:
    return PlainTextResponse("twice")


def by_hand(request: Request) -> Response:
    request.scope["prefork.route"] = "/by-hand/{what}"
    return PlainTextResponse("by hand")


def make_api() -> FastAPI:
    inner, api, router = FastAPI(), FastAPI(), APIRouter(prefix="/shop")

    @inner.get("/items/{number}")
    async def item(number: int) -> int:
        return number

    @router.get("/orders/{number}")
    async def order(number: int) -> int:
        return number

    @api.get("/users/{name}")
    async def user(name: str) -> str:
        return name

    api.include_router(router, prefix="/v1")
    api.mount("/inner", inner)
    return api


API = make_api()
STARLETTE = Starlette(
    routes=[
        Route("/hello/{name}", hello),
        Route("/twice/a", twice),
        Route("/twice/b", twice),
        Route("/hand/{what}", by_hand),
        Mount("/of/{user}", routes=[Route("/{number:int}", lambda request: PlainTextResponse("x"))]),
        Mount("/api", API),
        Host("other.example", Starlette(routes=[Route("/there", lambda request: PlainTextResponse("x"))])),
    ]
)


@litestar_get("/books/{number:int}", sync_to_thread=False)
def book() -> str:
    return "book"


LITESTAR = Litestar([book])


def ask(app: AsgiApp, path: str, host: str = "example") -> str:
    """What is known of the route when the response starts."""
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", host.encode())],
        "state": {},
        "extensions": {},
    }
    told: list[str] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            told.append(asgi_route(scope))

    asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
    return told[0]


@pytest.mark.parametrize(
    ("app", "path", "route"),
    [
        (STARLETTE, "/hello/ann", "/hello/{name}"),
        (STARLETTE, "/twice/a", "/twice/a"),
        (STARLETTE, "/twice/b", "/twice/b"),
        (STARLETTE, "/hand/7", "/by-hand/{what}"),
        (STARLETTE, "/of/ann/7", "/of/{user}/{number:int}"),
        (STARLETTE, "/api/users/ann", "/api/users/{name}"),
        (STARLETTE, "/api/v1/shop/orders/7", "/api/v1/shop/orders/{number}"),
        (STARLETTE, "/api/inner/items/7", "/api/inner/items/{number}"),
        (STARLETTE, "/nowhere/7", ""),
        (API, "/users/ann", "/users/{name}"),
        (API, "/v1/shop/orders/7", "/v1/shop/orders/{number}"),
        (API, "/inner/items/7", "/inner/items/{number}"),
        (API, "/inner/nowhere/7", "/inner"),
        (API, "/nowhere/7", ""),
        (LITESTAR, "/books/7", "/books/{number}"),
        (LITESTAR, "/nowhere/7", ""),
    ],
)
def test_the_template_is_told_with_the_mounts_above_it(app: Any, path: str, route: str) -> None:
    assert ask(app, path) == route


def test_a_route_below_a_host_is_told() -> None:
    assert ask(STARLETTE, "/there", host="other.example") == "/there"


def test_a_route_that_is_added_later_is_found() -> None:
    app = Starlette(routes=[Route("/first", hello)])
    assert ask(app, "/first") == "/first"
    app.router.routes.append(Route("/second/{number}", twice))
    assert ask(app, "/second/7") == "/second/{number}"


def test_apps_and_scopes_of_any_shape_harm_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slotted:
        __slots__ = ()

    for scope in (
        {"endpoint": hello},
        {"endpoint": hello, "router": Slotted()},
        {"endpoint": hello, "router": object(), "route": Slotted()},
        {"prefork.route": b"/bytes"},
        {"path_template": 7},
    ):
        assert asgi_route(scope) == ""
    monkeypatch.setattr(routes, "KEPT_ROUTERS", 0)
    assert ask(Starlette(routes=[Route("/first", hello)]), "/first") == ""


def test_the_rule_of_flask_is_told() -> None:
    app = Flask("shop")

    @app.get("/users/<int:number>")
    def user(number: int) -> str:
        return "user"

    for path, route in (("/users/7", "/users/<int:number>"), ("/nowhere/7", "")):
        environ = EnvironBuilder(path).get_environ()
        assert _begun_with(app, environ) == route


def _begun_with(app: Any, environ: dict[str, Any]) -> str:
    """What is known of the route when the response starts."""
    told: list[str] = []
    list(app(environ, lambda *_: told.append(wsgi_route(environ))))
    return told[0]


def test_an_environ_may_say_it_by_hand() -> None:
    assert wsgi_route({"prefork.route": "/by-hand/{what}"}) == "/by-hand/{what}"
    assert wsgi_route({"prefork.route": 7}) == ""
    assert wsgi_route({}) == ""
