"""An App's promises beyond its routes: results, errors, middleware, mounts."""

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from prefork.errors import RequestError
from prefork.web import App, HTTPError, Request, Response
from prefork.web.app import CallNext
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


def test_http_error_answers_with_its_status_detail_and_headers() -> None:
    async def handler(request: Request) -> None:
        raise HTTPError(401, "who are you?", {"www-authenticate": "Basic"})

    app = App()
    app.get("/")(handler)
    for target in (app, handler):
        exchange = ask(target)
        assert (exchange.status, exchange.text) == (401, "who are you?\n")
        assert exchange.headers["www-authenticate"] == "Basic"


def test_http_error_is_for_error_statuses_only() -> None:
    with pytest.raises(ValueError, match="400 to 599"):
        HTTPError(204)
    assert HTTPError(404).detail == "Not Found"
    assert HTTPError(499).detail == "Client Error"


class TestExceptionHandlers:
    def app(self, error: Exception) -> App:
        app = App()

        @app.get("/")
        async def fail(request: Request) -> None:
            raise error

        return app

    def test_handler_for_a_type_takes_its_subclasses_and_nothing_is_logged(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        app = self.app(KeyError("k"))

        @app.exception_handler(LookupError)
        async def lost(request: Request, error: LookupError) -> Response:
            return Response(f"lost {error}", 410)

        exchange = ask(app)
        assert (exchange.status, exchange.text) == (410, "lost 'k'")
        assert not caplog.records

    def test_the_closest_base_wins(self) -> None:
        app = self.app(KeyError("k"))

        @app.exception_handler(LookupError)
        async def lookup(request: Request, error: Exception) -> str:
            return "lookup"

        @app.exception_handler(KeyError)
        def key(request: Request, error: Exception) -> str:  # a def handler, so in a thread
            return "key"

        assert ask(app).text == "key"

    def test_result_that_is_no_response_gets_the_errors_status(self) -> None:
        app = App()

        @app.exception_handler(404)
        async def missing(request: Request, error: HTTPError) -> dict[str, str]:
            return {"error": error.detail}

        exchange = ask(app, path="/none")
        assert (exchange.status, exchange.text) == (404, '{"error":"Not Found"}')

    @pytest.mark.parametrize("kind", [Exception, 500])
    def test_handler_for_every_fault_gets_it_after_it_was_logged(
        self, kind: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        app = self.app(ZeroDivisionError("boom"))

        @app.exception_handler(kind)
        async def sorry(request: Request, error: Exception) -> str:
            return "sorry"

        exchange = ask(app)
        assert (exchange.status, exchange.text) == (500, "sorry")
        assert "ZeroDivisionError: boom" in caplog.text

    def test_handler_for_every_fault_leaves_http_errors_alone(self) -> None:
        app = self.app(HTTPError(403))

        @app.exception_handler(Exception)
        async def sorry(request: Request, error: Exception) -> str:
            return "sorry"

        assert ask(app).status == 403

    def test_own_http_error_class_has_its_handler(self) -> None:
        class Teapot(HTTPError):
            def __init__(self) -> None:
                super().__init__(418)

        app = self.app(Teapot())

        @app.exception_handler(Teapot)
        async def tea(request: Request, error: Teapot) -> str:
            return "tea"

        exchange = ask(app)
        assert (exchange.status, exchange.text) == (418, "tea")

    def test_status_handler_takes_a_broken_body_too(self) -> None:
        app = App()

        @app.post("/")
        async def read(request: Request) -> bytes:
            return await request.body()

        @app.exception_handler(413)
        async def too_large(request: Request, error: RequestError) -> str:
            return "smaller, please"

        exchange = ask(app, "POST", body=[b"abc", RequestError(413, "too large")])
        assert (exchange.status, exchange.text) == (413, "smaller, please")

    def test_handler_that_fails_itself_is_500(self, caplog: pytest.LogCaptureFixture) -> None:
        app = self.app(KeyError("first"))

        @app.exception_handler(KeyError)
        async def worse(request: Request, error: KeyError) -> None:
            raise ValueError("second")

        assert ask(app).status == 500
        assert "second" in caplog.text

    def test_kind_that_is_neither_class_nor_status_or_is_taken_is_refused(self) -> None:
        async def handler(request: Request, error: Exception) -> None: ...

        with pytest.raises(TypeError, match="Exception class or a status"):
            App().exception_handler("404")(handler)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="400 to 599"):
            App().exception_handler(200)(handler)
        app = App()
        app.exception_handler(Exception)(handler)
        with pytest.raises(ValueError, match="handles that already"):
            app.exception_handler(500)(handler)


class TestMiddleware:
    def test_first_added_is_the_outermost_and_sees_a_response(self) -> None:
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

    def test_sees_the_responses_of_errors_and_of_missing_routes(self) -> None:
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

    def test_may_answer_by_itself_or_raise(self) -> None:
        app = App()

        @app.middleware
        async def guard(request: Request, call_next: CallNext) -> Any:
            if "authorization" not in request.headers:
                raise HTTPError(401)
            return "let in"

        assert ask(app).status == 401
        assert ask(app, headers=[("Authorization", "x")]).text == "let in"

    def test_knows_the_path_parameters_of_the_route(self) -> None:
        app = App()

        @app.middleware
        async def shout(request: Request, call_next: CallNext) -> Response:
            request.path_params["name"] = request.path_params["name"].upper()
            return await call_next(request)

        @app.get("/{name}")
        async def hello(request: Request) -> str:
            return str(request.path_params["name"])

        assert ask(app, path="/ann").text == "ANN"

    def test_must_be_async_with_two_parameters(self) -> None:
        def plain(request: Request, call_next: CallNext) -> None: ...

        async def short(request: Request) -> None: ...

        with pytest.raises(TypeError, match="must be async def"):
            App().middleware(plain)
        with pytest.raises(TypeError, match=r"must take \(request, call_next\)"):
            App().middleware(short)


class TestMount:
    def test_mounted_app_sees_the_path_without_the_prefix(self) -> None:
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

    def test_own_routes_win_and_the_longest_prefix_is_first(self) -> None:
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

    def test_errors_go_to_the_mounted_app_first_then_outwards(self) -> None:
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

    def test_middleware_of_both_runs_the_outer_first(self) -> None:
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

    def test_bad_mounts_are_refused(self) -> None:
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
