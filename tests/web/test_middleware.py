"""Middleware: what it sees, what it may change, in which order."""

import logging
from typing import Any

import pytest

from prefork.web import App, HTTPError, Request, Response
from prefork.web.app import CallNext
from tests.web.fake_exchange import ask


def test_first_added_is_the_outermost_and_sees_a_response() -> None:
    app = App()
    seen: list[str] = []

    @app.middleware
    async def outer(request: Request, call_next: CallNext) -> Response:
        seen.append("outer in")
        response = await call_next(request)
        seen.append("outer out")
        response.headers["x-outer"] = "1"
        return response

    @app.middleware
    async def inner(request: Request, call_next: CallNext) -> Response:
        seen.append("inner in")
        request.state.user = "ann"
        return await call_next(request)

    @app.get("/")
    async def handler(request: Request) -> str:
        return str(request.state.user)

    exchange = ask(app)
    assert seen == ["outer in", "inner in", "outer out"]
    assert (exchange.text, exchange.headers["x-outer"]) == ("ann", "1")


def test_sees_the_responses_of_errors_and_of_missing_routes() -> None:
    app = App()
    statuses: list[int] = []

    @app.middleware
    async def watch(request: Request, call_next: CallNext) -> Response:
        response = await call_next(request)
        statuses.append(response.status)
        return response

    @app.get("/")
    async def refuse(request: Request) -> None:
        raise HTTPError(409)

    @app.get("/lost")
    async def lost(request: Request) -> None:
        raise KeyError

    @app.exception_handler(KeyError)
    async def gone(request: Request, error: KeyError) -> Response:
        return Response(status=410)

    for method, path in (("GET", "/"), ("GET", "/lost"), ("GET", "/none"), ("PUT", "/"), ("OPTIONS", "/")):
        ask(app, method, path)
    assert statuses == [409, 410, 404, 405, 204]


def test_may_answer_by_itself_or_raise() -> None:
    app = App()

    @app.middleware
    async def guard(request: Request, call_next: CallNext) -> Any:
        if "authorization" not in request.headers:
            raise HTTPError(401)
        return "let in"

    assert ask(app).status == 401
    assert ask(app, headers=[("Authorization", "x")]).text == "let in"


def test_knows_the_path_parameters_of_the_route() -> None:
    app = App()

    @app.middleware
    async def shout(request: Request, call_next: CallNext) -> Response:
        request.path_params["name"] = request.path_params["name"].upper()
        return await call_next(request)

    @app.get("/{name}")
    async def hello(request: Request) -> str:
        return str(request.path_params["name"])

    assert ask(app, path="/ann").text == "ANN"


def test_must_be_async_with_two_parameters() -> None:
    def plain(request: Request, call_next: CallNext) -> None: ...

    async def short(request: Request) -> None: ...

    with pytest.raises(TypeError, match="must be async def"):
        App().middleware(plain)
    with pytest.raises(TypeError, match=r"must take \(request, call_next\)"):
        App().middleware(short)


def test_unhandled_exception_passes_through_middleware_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    app = App()

    @app.middleware
    async def nothing(request: Request, call_next: CallNext) -> Response:
        return await call_next(request)

    @app.get("/")
    async def fail(request: Request) -> None:
        raise RuntimeError("secret")

    with caplog.at_level(logging.ERROR):
        exchange = ask(app)
    assert (exchange.status, exchange.text) == (500, "Internal Server Error\n")
    assert caplog.text.count("RuntimeError: secret") == 1
