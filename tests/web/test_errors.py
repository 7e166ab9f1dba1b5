"""HTTPError and exception handlers: who answers what."""

from typing import Any

import pytest

from prefork.errors import RequestError
from prefork.web import App, HTTPError, Request, Response
from tests.web.fake_exchange import ask


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


def failing_app(error: Exception) -> App:
    app = App()

    @app.get("/")
    async def fail(request: Request) -> None:
        raise error

    return app


def test_handler_for_a_type_takes_its_subclasses_and_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    app = failing_app(KeyError("k"))

    @app.exception_handler(LookupError)
    async def lost(request: Request, error: LookupError) -> Response:
        return Response(f"lost {error}", 410)

    exchange = ask(app)
    assert (exchange.status, exchange.text) == (410, "lost 'k'")
    assert not caplog.records


def test_the_closest_base_wins() -> None:
    app = failing_app(KeyError("k"))

    @app.exception_handler(LookupError)
    async def lookup(request: Request, error: Exception) -> str:
        return "lookup"

    @app.exception_handler(KeyError)
    def key(request: Request, error: Exception) -> str:  # a def handler, so in a thread
        return "key"

    assert ask(app).text == "key"


def test_result_that_is_no_response_gets_the_errors_status() -> None:
    app = App()

    @app.exception_handler(404)
    async def missing(request: Request, error: HTTPError) -> dict[str, str]:
        return {"error": error.detail}

    exchange = ask(app, path="/none")
    assert (exchange.status, exchange.text) == (404, '{"error":"Not Found"}')


@pytest.mark.parametrize("kind", [Exception, 500])
def test_handler_for_every_fault_gets_it_after_it_was_logged(kind: Any, caplog: pytest.LogCaptureFixture) -> None:
    app = failing_app(ZeroDivisionError("boom"))

    @app.exception_handler(kind)
    async def sorry(request: Request, error: Exception) -> str:
        return "sorry"

    exchange = ask(app)
    assert (exchange.status, exchange.text) == (500, "sorry")
    assert "ZeroDivisionError: boom" in caplog.text


def test_handler_for_every_fault_leaves_http_errors_alone() -> None:
    app = failing_app(HTTPError(403))

    @app.exception_handler(Exception)
    async def sorry(request: Request, error: Exception) -> str:
        return "sorry"

    assert ask(app).status == 403


def test_own_http_error_class_has_its_handler() -> None:
    class Teapot(HTTPError):
        def __init__(self) -> None:
            super().__init__(418)

    app = failing_app(Teapot())

    @app.exception_handler(Teapot)
    async def tea(request: Request, error: Teapot) -> str:
        return "tea"

    exchange = ask(app)
    assert (exchange.status, exchange.text) == (418, "tea")


def test_status_handler_takes_a_broken_body_too() -> None:
    app = App()

    @app.post("/")
    async def read(request: Request) -> bytes:
        return await request.body()

    @app.exception_handler(413)
    async def too_large(request: Request, error: RequestError) -> str:
        return "smaller, please"

    exchange = ask(app, "POST", body=[b"abc", RequestError(413, "too large")])
    assert (exchange.status, exchange.text) == (413, "smaller, please")


def test_handler_that_fails_itself_is_500(caplog: pytest.LogCaptureFixture) -> None:
    app = failing_app(KeyError("first"))

    @app.exception_handler(KeyError)
    async def worse(request: Request, error: KeyError) -> None:
        raise ValueError("second")

    assert ask(app).status == 500
    assert "second" in caplog.text


def test_kind_that_is_neither_class_nor_status_or_is_taken_is_refused() -> None:
    async def handler(request: Request, error: Exception) -> None: ...

    with pytest.raises(TypeError, match="Exception class or a status"):
        App().exception_handler("404")(handler)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="400 to 599"):
        App().exception_handler(200)(handler)
    app = App()
    app.exception_handler(Exception)(handler)
    with pytest.raises(ValueError, match="handles that already"):
        app.exception_handler(500)(handler)
