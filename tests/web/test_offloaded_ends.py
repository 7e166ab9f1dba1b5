"""Endpoints that run as jobs: what a client gets when one fails, is refused or left, and what may be one."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import pytest

from prefork.errors import Cancelled, ChildrenBusy, ChildTimeout, Crashed, OffloadError, QueueFull, Timeout, Unsendable
from prefork.jobs.options import Offload
from prefork.web import (
    App,
    HTTPError,
    Request,
    Response,
    StreamingResponse,
)
from prefork.web.recovery import as_http_error, status_of
from tests.web.fake_exchange import FakeExchange, ask
from tests.web.offloading import Held, Idle, ask_offloaded, pool_of, start_serving

app = App()


class NoHandler: ...


# -- errors as answers


@app.get("/raise/{name}", offload=True)
def raise_error(request: Request) -> None:
    raise {
        "http": HTTPError(418, "tea", {"x-a": "1"}),
        "full": QueueFull("full", 7),
        "timeout": Timeout("late"),
        "fault": LookupError("no"),
        "crash": Crashed("died"),
    }[request.path_params["name"]]


@pytest.mark.parametrize(
    ("name", "status", "text"),
    [
        ("http", 418, "tea\n"),
        ("full", 503, "Service Unavailable\n"),
        ("timeout", 504, "Gateway Timeout\n"),
        ("fault", 500, "Internal Server Error\n"),
        ("crash", 500, "Internal Server Error\n"),
    ],
)
def test_an_error_of_a_job_is_an_answer(name: str, status: int, text: str) -> None:
    exchange = ask_offloaded(app, path=f"/raise/{name}")
    assert (exchange.status, exchange.text) == (status, text)
    assert exchange.headers.get("retry-after") == ("7" if name == "full" else None)
    assert exchange.headers.get("x-a") == ("1" if name == "http" else None)


def test_a_fault_is_logged_with_the_traceback_from_over_there(caplog: pytest.LogCaptureFixture) -> None:
    ask_offloaded(app, path="/raise/fault")
    assert "LookupError: no" in caplog.text
    assert "in raise_error" in caplog.text


handled = App()
handled.get("/raise/{name}", offload=True)(raise_error)


@handled.exception_handler(QueueFull)
async def busy(request: Request, error: QueueFull) -> dict[str, int]:
    return {"again": error.retry_after}


@handled.exception_handler(504)
async def late(request: Request, error: Timeout) -> str:
    return f"late: {error}"


@handled.exception_handler(OffloadError)
async def other(request: Request, error: OffloadError) -> Response:
    return Response(type(error).__name__, 502)


@handled.exception_handler(LookupError)
async def missing(request: Request, error: LookupError) -> Response:
    return Response(f"missing {error}", 404)


@pytest.mark.parametrize(
    ("name", "status", "text"),
    [
        ("full", 503, '{"again":7}'),
        ("fault", 404, "missing no"),
        ("crash", 502, "Crashed"),
        ("timeout", 502, "Timeout"),
    ],
)
def test_exception_handlers_take_errors_of_jobs_by_their_class(name: str, status: int, text: str) -> None:
    exchange = ask_offloaded(handled, path=f"/raise/{name}")
    assert (exchange.status, exchange.text) == (status, text)


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (QueueFull("full", 7), 503, "7"),
        (Timeout("late"), 504, None),
        (ChildrenBusy("64 run", 10), 503, "10"),
        (ChildTimeout("late"), 504, None),
        (HTTPError(404), 404, None),
        (Crashed("died"), None, None),
        (Cancelled("gone"), None, None),
        (Unsendable("no"), None, None),
        (OffloadError("no"), None, None),
        (TimeoutError("of the app"), None, None),
        (LookupError("no"), None, None),
        (SystemExit(1), None, None),
    ],
    ids=lambda case: type(case).__name__ if isinstance(case, BaseException) else None,
)
def test_which_errors_are_answers(error: BaseException, status: int | None, retry_after: str | None) -> None:
    found = as_http_error(error)
    assert (found and found.status) == status
    if found is not None:
        assert found.response().headers.get("retry-after") == retry_after
    if isinstance(error, Exception):
        assert status_of(error) == status


@pytest.mark.parametrize("wait", [False, True])
def test_an_error_of_offload_in_any_handler_is_the_same_answer(wait: bool) -> None:
    plain = App()

    @plain.get("/")
    async def handler(request: Request) -> None:
        raise Timeout("late") if wait else QueueFull("full", 3)

    exchange = ask(plain)
    assert exchange.status == (504 if wait else 503)
    assert exchange.headers.get("retry-after") == (None if wait else "3")


# -- the job of a request


@app.get("/optional", offload=Offload(timeout=0.5, priority=3, memory="1G"))
def optional(request: Request) -> None: ...


def test_an_endpoints_job_has_the_options_of_its_route_and_is_named_after_it() -> None:
    async def main() -> None:
        async with pool_of() as (_, backend):
            await start_serving(app, FakeExchange(target="/optional"))
            (job,) = backend.jobs
        assert (job.terms.timeout, job.terms.priority, job.terms.memory) == (0.5, 3, 1 << 30)
        assert job.name == "tests.web.test_offloaded_ends.optional"

    asyncio.run(main())


def test_a_request_is_answered_503_with_the_time_to_come_again_when_the_queue_is_full() -> None:
    async def main() -> None:
        async with pool_of(Held, offload_queue=0) as (_, backend):
            serving = [start_serving(app, FakeExchange(target="/optional")) for _ in range(backend.processes)]
            await asyncio.sleep(0)
            exchange = FakeExchange(target="/optional")
            await start_serving(app, exchange)
            assert exchange.status == 503
            assert int(exchange.headers["retry-after"]) >= 1
            for task in serving:
                task.cancel()

    asyncio.run(main())


@app.get("/pieces", offload=True)
def pieces(request: Request) -> Iterator[str]:
    yield "first"
    yield "second"


@pytest.mark.parametrize("runs", [False, True])
def test_a_job_ends_with_the_request_of_a_client_that_left(runs: bool) -> None:
    async def main() -> None:
        async with pool_of(Held if runs else Idle) as (pool, backend):
            exchange = FakeExchange(target="/optional")
            serving = start_serving(app, exchange)
            await backend.woken.wait()
            (job,) = pool.jobs.values()
            serving.cancel()
            await asyncio.wait([serving])
            assert serving.cancelled()
            assert job.state.value == "cancelled"
            assert backend.ended == ([job] if runs else [])
            assert not exchange.started

    asyncio.run(main())


def test_a_stream_ends_with_the_request_of_a_client_that_left() -> None:
    async def main() -> None:
        async with pool_of(Held) as (pool, backend):
            arrived = asyncio.Event()
            exchange = FakeExchange(target="/pieces", on_write=lambda _: arrived.set())
            serving = start_serving(app, exchange)
            await backend.woken.wait()
            (job,) = backend.jobs
            pool.add_item(job, StreamingResponse(()))
            pool.add_item(job, b"first")
            await arrived.wait()
            assert exchange.body == b"first"
            serving.cancel()
            await asyncio.wait([serving])
            del serving  # and with it the frames that it was in
            await asyncio.sleep(0)  # it is ended on the loop's own turn
            assert backend.ended == [job]

    asyncio.run(main())


def test_middleware_that_drops_a_stream_ends_its_job() -> None:
    dropping = App()

    @dropping.middleware
    async def drop(request: Request, call_next: Any) -> str:
        await call_next(request)
        return "dropped"

    dropping.get("/pieces", offload=True)(pieces)

    async def main() -> None:
        async with pool_of(Held) as (pool, backend):
            exchange = FakeExchange(target="/pieces")
            serving = start_serving(dropping, exchange)
            await backend.woken.wait()
            pool.add_item(backend.jobs[0], StreamingResponse(()))
            await serving
            await asyncio.sleep(0)
            assert exchange.text == "dropped"
            assert backend.ended == backend.jobs

    asyncio.run(main())


# -- defining


async def coroutine_function(request: Request) -> None: ...


async def async_generator(request: Request) -> AsyncIterator[str]:
    yield "x"


def no_request() -> None: ...


@pytest.mark.parametrize(
    ("handler", "complaint"),
    [
        (
            coroutine_function,
            r"test_offloaded_ends\.coroutine_function: an offloaded endpoint is a plain def, not async",
        ),
        (
            partial(coroutine_function),
            r"test_offloaded_ends\.coroutine_function: an offloaded endpoint is a plain def, not async",
        ),
        (async_generator, r"async_generator is a generator"),
        (no_request, r"must take \(request\)"),
        (NoHandler, "is a class"),
        ("text", "a handler is a function, not str"),
    ],
)
def test_what_is_no_endpoint_of_this_kind_is_refused_when_defined(handler: Any, complaint: str) -> None:
    for offload in (True, Offload(timeout=1)):
        with pytest.raises(TypeError, match=complaint):
            App().get("/", offload=offload)(handler)


def test_a_wrong_option_is_refused_when_defined() -> None:
    with pytest.raises(ValueError, match="timeout"):
        App().get("/", offload=Offload(timeout=-1))


def test_a_decorator_leaves_the_function_as_it_is() -> None:
    assert App().get("/", offload=True)(optional) is optional


@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete"])
def test_each_method_takes_offload(method: str) -> None:
    made = App()
    getattr(made, method)("/", offload=True)(whoami)
    assert ask_offloaded(made, method.upper()).text == method.upper()


def whoami(request: Request) -> str:
    return request.method


def test_an_endpoint_that_an_offloader_would_not_find_is_refused_at_startup_with_the_reason() -> None:
    def within(request: Request) -> None: ...

    for handler, complaint in [(within, "is defined within a function"), (lambda request: None, "is a lambda")]:
        made, outer = App(), App()
        made.get("/", offload=True)(handler)
        outer.mount("/made", made)
        for each in (made, outer):
            with pytest.raises(Unsendable, match=complaint):
                asyncio.run(each.startup())


def test_a_callable_object_and_a_partial_can_be_endpoints() -> None:
    made = App()
    made.get("/object", offload=True)(Greeter("hello"))
    made.get("/partial", offload=True)(partial(greet, "hi"))
    assert ask_offloaded(made, path="/object").text == "hello GET"
    assert ask_offloaded(made, path="/partial").text == "hi GET"


class Greeter:
    def __init__(self, word: str) -> None:
        self.word = word

    def __call__(self, request: Request) -> str:
        return greet(self.word, request)


def greet(word: str, request: Request) -> str:
    return f"{word} {request.method}"
