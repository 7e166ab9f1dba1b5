"""Apps within apps."""

from typing import Any

import pytest

from prefork.web import App, HTTPError, Request, Response
from prefork.web.app import CallNext
from tests.web.fake_exchange import ask


def test_mounted_app_sees_the_path_without_the_prefix() -> None:
    inner = App()

    @inner.get("/")
    async def root(request: Request) -> str:
        return f"root at {request.mount_path}"

    @inner.get("/users/{id:int}")
    async def user(request: Request) -> list[Any]:
        return [request.path, request.mount_path, request.path_params["id"], request.app is inner]

    app, middle = App(), App()
    app.mount("/api", middle)
    middle.mount("/v1", inner)
    assert ask(app, path="/api/v1").text == ask(app, path="/api/v1/").text == "root at /api/v1"
    assert ask(app, path="/api/v1/users/5").text == '["/api/v1/users/5","/api/v1",5,true]'
    assert ask(app, path="/apis").status == 404
    assert ask(app, "PUT", "/api/v1/users/5").headers["allow"] == "GET, HEAD, OPTIONS"


def test_own_routes_win_and_the_longest_prefix_is_first() -> None:
    def saying(text: str) -> App:
        app = App()

        @app.get("/{rest:path}")
        async def handler(request: Request) -> str:
            return text

        return app

    app = App()
    app.mount("/", saying("everything else"))
    app.mount("/a", saying("a"))
    app.mount("/a/b", saying("a/b"))

    @app.get("/a/own")
    async def own(request: Request) -> str:
        return "own"

    paths = ("/a/own", "/a/b/x", "/a/x", "/x")
    assert [ask(app, path=path).text for path in paths] == ["own", "a/b", "a", "everything else"]


def test_errors_go_to_the_mounted_app_first_then_outwards() -> None:
    app, inner = App(), App()
    app.mount("/in", inner)

    @app.exception_handler(404)
    async def outer_404(request: Request, error: HTTPError) -> str:
        return "outer 404"

    @app.exception_handler(KeyError)
    async def outer_key(request: Request, error: KeyError) -> str:
        return "outer key"

    @inner.exception_handler(KeyError)
    async def inner_key(request: Request, error: KeyError) -> str:
        return "inner key"

    @inner.get("/key")
    async def fail(request: Request) -> None:
        raise KeyError

    assert ask(app, path="/in/key").text == "inner key"
    assert ask(app, path="/in/none").text == "outer 404"


def test_middleware_of_both_runs_the_outer_first() -> None:
    app, inner = App(), App()
    app.mount("/in", inner)
    seen: list[tuple[str, bool]] = []

    @app.middleware
    async def outer(request: Request, call_next: CallNext) -> Response:
        seen.append(("outer", request.app is app))
        response = await call_next(request)
        seen.append(("outer again", request.app is app))
        return response

    @inner.middleware
    async def within(request: Request, call_next: CallNext) -> Response:
        seen.append(("inner", request.app is inner))
        return await call_next(request)

    assert ask(app, path="/in/none").status == 404
    assert seen == [("outer", True), ("inner", True), ("outer again", True)]


def test_bad_mounts_are_refused() -> None:
    app, inner = App(), App()
    app.mount("/a", inner)
    with pytest.raises(ValueError, match="mounted there already"):
        app.mount("/a", App())
    with pytest.raises(ValueError, match="within itself"):
        inner.mount("/b", app)
    with pytest.raises(TypeError, match="only an App"):
        app.mount("/b", object())  # type: ignore[arg-type]
    for prefix in ("b", "/b/", "/{b}"):
        with pytest.raises(ValueError, match=prefix):
            app.mount(prefix, App())
