"""What the adapter promises: every exchange ends, and every failure is told to whom it concerns."""

import asyncio
import contextvars
import functools
import logging
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from prefork.apps.native import AppApplication, HandlerApplication
from prefork.children.thread_pool import Threads, own
from prefork.errors import Disconnected, RequestError
from prefork.settings import Settings
from prefork.web import App, Request, StreamingResponse
from tests.web.fake_exchange import FakeExchange, ask, serve


def both(handler: Callable[[Request], Any]) -> list[App | Callable[[Request], Any]]:
    """The handler plain, and as a route of an App."""
    app = App()
    app.route("/", ["GET", "POST"])(handler)
    return [handler, app]


def failing(error: BaseException) -> Callable[[Request], Any]:
    async def handler(request: Request) -> None:
        raise error

    return handler


def test_plain_handler_gets_every_path_and_method() -> None:
    async def handler(request: Request) -> str:
        return f"{request.method} {request.path}"

    assert ask(handler, "PURGE", "/a/b").text == "PURGE /a/b"
    assert ask(handler, "OPTIONS", "*").text == "OPTIONS *"


def test_handler_may_be_any_callable() -> None:
    class Async:
        async def __call__(self, request: Request) -> str:
            return "async " + threading.current_thread().name

        def method(self, request: Request) -> str:
            return "method"

    async def two(greeting: str, request: Request) -> str:
        return greeting

    assert ask(Async()).text == f"async {threading.current_thread().name}"
    assert ask(Async().method).text == "method"
    assert ask(functools.partial(two, "hi")).text == "hi"
    assert ask(lambda request: two("from a lambda", request)).text == "from a lambda"


def test_plain_def_runs_in_a_thread_with_the_callers_context() -> None:
    user = contextvars.ContextVar("user", default="nobody")

    def handler(request: Request) -> str:
        return f"{threading.current_thread().name} {user.get()}"

    async def main() -> str:
        exchange = FakeExchange()
        user.set("ann")
        await serve(handler, exchange)
        return exchange.text

    name, who = asyncio.run(main()).split()
    assert name != threading.current_thread().name
    assert who == "ann"


def test_plain_def_handlers_run_side_by_side_in_the_threads_of_the_server() -> None:
    together = threading.Barrier(3)

    def handler(request: Request) -> str:
        together.wait(timeout=30)  # passes only when three threads are here at once
        return threading.current_thread().name

    async def main() -> set[str]:
        threads = Threads(asyncio.get_running_loop(), 3, 60, 60, "test")
        own.set(threads)
        application = HandlerApplication(handler, Settings())
        exchanges = [FakeExchange() for _ in range(9)]
        await asyncio.gather(*map(application, exchanges))
        await threads.close()
        return {exchange.text for exchange in exchanges}

    assert len(asyncio.run(main())) == 3


def test_exception_is_500_and_its_traceback_is_logged_with_the_request(caplog: pytest.LogCaptureFixture) -> None:
    for target in both(failing(ValueError("the secret"))):
        caplog.clear()
        exchange = ask(target, "POST", "/?x=1", [("X-Request-Id", "id-7")])
        assert (exchange.status, exchange.text) == (500, "Internal Server Error\n")
        (record,) = caplog.records
        assert (record.name, record.levelno) == ("prefork.app", logging.ERROR)
        assert record.getMessage() == "request id-7: POST / failed"
        assert "ValueError: the secret" in caplog.text


def test_exception_in_a_thread_is_500_too(caplog: pytest.LogCaptureFixture) -> None:
    def handler(request: Request) -> None:
        raise ValueError("in a thread")

    assert ask(handler).status == 500
    assert "in a thread" in caplog.text


def test_traceback_is_shown_only_in_debug() -> None:
    for target in both(failing(ValueError("the secret \udcff"))):
        exchange = ask(target, debug=True)
        assert exchange.status == 500
        assert "ValueError: the secret" in exchange.text
        assert "Traceback" in exchange.text


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), StopIteration(), BaseExceptionGroup("g", [SystemExit()])]
)
def test_handler_cannot_end_its_worker(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    for target in both(failing(error)):
        assert ask(target).status == 500


def test_error_of_the_client_fails_the_exchange_and_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(request: Request) -> bytes:
        return await request.body()

    for target in both(handler):
        error = RequestError(400, "bad chunk size")
        exchange = ask(target, "POST", body=[b"abc", error])
        assert exchange.failed is error
        assert not caplog.records


def test_body_over_the_limit_never_reaches_the_handler() -> None:
    reached: list[str] = []

    async def handler(request: Request) -> None:
        reached.append("reached")

    for target in both(handler):
        assert ask(target, "POST", body=b"x" * 5, max_body=5).status == 204
        assert ask(target, "POST", body=b"x" * 6, max_body=5).status == 413
    assert len(reached) == 2


def test_limit_is_set_only_when_there_is_a_body() -> None:
    async def handler(request: Request) -> None: ...

    for target in both(handler):
        assert ask(target).limit is None
        assert ask(target, "POST", body=b"x", max_body=7).limit == 7


def test_client_that_leaves_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    for target in both(failing(Disconnected("gone"))):
        exchange = ask(target)
        assert (exchange.aborted, exchange.status) == (True, 0)
        assert not caplog.records


def test_exception_after_the_head_cuts_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for piece in list[bytes]():
            yield piece
        raise ValueError("late")

    async def handler(request: Request) -> StreamingResponse:
        return StreamingResponse(pieces())

    for target in both(handler):
        caplog.clear()
        exchange = ask(target)
        assert exchange.aborted
        assert "within its response, which is cut" in caplog.text
        assert "ValueError: late" in caplog.text


def test_exception_after_the_response_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(request: Request) -> None:
        request.exchange.respond(200, (), b"by hand")
        raise ValueError("afterwards")

    exchange = ask(handler)
    assert (exchange.status, exchange.text, exchange.aborted) == (200, "by hand", False)
    assert "failed after its response had ended" in caplog.text


def test_cancelled_request_passes_the_cancellation_on() -> None:
    async def main(target: Any) -> None:
        application = (
            AppApplication(target, Settings()) if isinstance(target, App) else HandlerApplication(target, Settings())
        )
        task = asyncio.create_task(application(FakeExchange()))
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def handler(request: Request) -> None:
        entered.set()
        await asyncio.Event().wait()

    for target in both(handler):
        entered = asyncio.Event()
        asyncio.run(main(target))


def test_handler_that_awaits_something_cancelled_is_500(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(request: Request) -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    for target in both(handler):
        caplog.clear()
        assert ask(target).status == 500
        assert "CancelledError" in caplog.text


def test_timeout_in_a_handler_works() -> None:
    async def handler(request: Request) -> str:
        try:
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        except TimeoutError:
            return "timed out"
        return "never"

    for target in both(handler):
        assert ask(target).text == "timed out"


def test_plain_handler_checks_as_a_route_does() -> None:
    with pytest.raises(TypeError, match="must take"):
        HandlerApplication(lambda: None, Settings())
