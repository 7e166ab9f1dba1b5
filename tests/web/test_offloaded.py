"""Endpoints that run as jobs: they see the whole request, and may return whatever a handler may."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import msgspec
import pytest

from prefork.errors import Disconnected
from prefork.jobs import runner
from prefork.jobs.runner import Streamed
from prefork.web import (
    App,
    Event,
    EventStream,
    FileResponse,
    HTTPError,
    JSONResponse,
    Redirect,
    Request,
    Response,
    StreamingResponse,
    offloaded,
)
from prefork.web.offloaded import Carried, answer
from tests.web.fake_exchange import FakeExchange, ask
from tests.web.offloading import ask_offloaded

app = App()
inner = App()
app.mount("/inner", inner)


@pytest.fixture(autouse=True)
def in_an_offloader(monkeypatch: pytest.MonkeyPatch) -> None:
    """What tells a process that it is one, and what its app is."""
    monkeypatch.setattr(runner, "current", object())
    monkeypatch.setattr(offloaded, "root", app)


class Point(msgspec.Struct):
    x: int


RESULTS: dict[str, Any] = {
    "str": "é",
    "bytes": b"ab",
    "empty": b"",
    "none": None,
    "dict": {"a": [1, None]},
    "tuple": ("body", 201, b"x"),
    "number": 0,
    "struct": Point(1),
    "response": Response("x", 418, {"x-a": "1"}),
    "bytes-response": Response(b"x" * 100_000, 200, {"x-a": "é"}),
    "json": JSONResponse({"a": 1}, 201),
    "redirect": Redirect("/there"),
    "file": FileResponse(__file__),
    "stream": StreamingResponse(["a", b"b"], 202, {"x-a": "1"}, "text/plain", length=2),
    "events": EventStream(["one", Event({"a": 1}, event="e"), {"data": "three"}], keep_alive=None),
}


@app.get("/results/{name}", offload=True)
def result(request: Request) -> Any:
    return RESULTS[request.path_params["name"]]


def as_any_handler(name: str) -> Callable[[Request], Any]:
    async def handler(request: Request) -> Any:
        return RESULTS[name]

    return handler


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("name", RESULTS)
def test_an_offloaded_endpoint_may_return_what_any_handler_may(name: str, method: str) -> None:
    there = ask_offloaded(app, method, f"/results/{name}")
    plain = App()
    plain.get("/results/{name}")(as_any_handler(name))
    here = ask(plain, method, f"/results/{name}")
    assert (there.status, there.sent, there.length) == (here.status, here.sent, here.length)
    assert there.body == here.body
    assert there.status < 500


# -- the request


@app.post("/echo/{number:int}/{rest:path}", offload=True)
@inner.post("/echo/{number:int}/{rest:path}", offload=True)
def echo(request: Request) -> Any:
    return {
        "method": request.method,
        "target": request.target,
        "path": request.path,
        "query": request.query.get_all("q"),
        "headers": request.headers.get_all("x-a"),
        "cookies": request.cookies,
        "client": request.client,
        "scheme": request.scheme,
        "id": request.id,
        "params": request.path_params,
        "mount": request.mount_path,
        "app": [app, inner].index(request.app),
        "body": request.wait(request.body()).decode(),
        "text": request.wait(request.text()),
    }


@pytest.mark.parametrize(("mount", "number"), [("", 0), ("/inner", 1)])
def test_an_offloaded_endpoint_sees_the_whole_request(mount: str, number: int) -> None:
    target = f"{mount}/echo/7/a%20b/c?q=1&q=%C3%A9"
    headers = [("X-A", "one"), ("x-a", "two"), ("Cookie", "k=v"), ("X-Request-Id", "r-1")]
    exchange = ask_offloaded(app, "POST", target, headers, "bödy".encode())
    assert json.loads(exchange.text) == {
        "method": "POST",
        "target": target,
        "path": f"{mount}/echo/7/a b/c",
        "query": ["1", "é"],
        "headers": ["one", "two"],
        "cookies": {"k": "v"},
        "client": ["192.0.2.1", 50000],
        "scheme": "http",
        "id": "r-1",
        "params": {"number": 7, "rest": "a b/c"},
        "mount": mount,
        "app": number,
        "body": "bödy",
        "text": "bödy",
    }


@app.post("/length", offload=True, max_body=100_000)
def length(request: Request) -> int:
    return len(request.wait(request.body()))


@pytest.mark.parametrize("count", [0, 1, 65_535, 65_536, 100_000])
def test_a_body_of_any_length_up_to_the_routes_limit_arrives(count: int) -> None:
    assert ask_offloaded(app, "POST", "/length", body=b"x" * count).text == str(count)


def test_a_body_beyond_the_limit_of_its_route_is_refused() -> None:
    assert ask_offloaded(app, "POST", "/length", body=b"x" * 100_001).status == 413


@app.post("/stream-in", offload=True)
def stream_in(request: Request) -> str:
    async def pieces() -> list[bytes]:
        return [piece async for piece in request.stream()]

    return b"".join(request.wait(pieces())).decode()


def test_a_body_can_be_streamed_too() -> None:
    assert ask_offloaded(app, "POST", "/stream-in", body=b"abc").text == "abc"


@app.post("/form", offload=True)
def form(request: Request) -> str:
    return str(request.wait(request.form())["name"])


def test_a_form_can_be_read() -> None:
    headers = [("content-type", "application/x-www-form-urlencoded")]
    assert ask_offloaded(app, "POST", "/form", headers, b"name=ann").text == "ann"


stateful = App()


@stateful.middleware
async def find_user(request: Request, call_next: Any) -> Any:
    request.state.user = {"name": "ann"}
    request.state.connection = lambda: None
    return await call_next(request)


@stateful.get("/state/{name}", offload=True)
def read_state(request: Request) -> Any:
    return getattr(request.state, request.path_params["name"])


def test_what_can_be_sent_of_the_state_comes_along_and_the_rest_says_why_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert ask_offloaded(stateful, path="/state/user").text == '{"name":"ann"}'
    assert ask_offloaded(stateful, path="/state/connection").status == 500
    assert "request.state.connection has not come along to the offloader: " in caplog.text
    assert ask_offloaded(stateful, path="/state/none").status == 500
    assert "request.state has no 'none'" in caplog.text


@app.get("/respond", offload=True)
def respond(request: Request) -> str:
    request.state.own = "mine"
    assert request.state.own == "mine"
    request.exchange.respond(200, ())
    return "not reached"


def test_an_endpoint_in_an_offloader_cannot_write_the_response_itself() -> None:
    exchange = FakeExchange()
    with pytest.raises(
        RuntimeError, match=r"^exchange\.respond is the worker's: an offloaded endpoint returns its"
    ) as caught:
        answer(respond, Carried.of(Request(exchange)), b"")
    assert not isinstance(caught.value, Disconnected)  # that would pass for a client that left


# -- pieces


@app.get("/pieces/{count:int}", offload=True)
def pieces(request: Request) -> Iterator[str]:
    for number in range(request.path_params["count"]):
        yield f"piece {number}\n"


@app.get("/fails/{after:int}", offload=True)
def fails(request: Request) -> Iterator[bytes]:
    for _ in range(request.path_params["after"]):
        yield b"x"
    raise HTTPError(409, "half way")


@pytest.mark.parametrize("count", [0, 1, 3, 100])
def test_a_generator_streams_to_the_client(count: int) -> None:
    exchange = ask_offloaded(app, path=f"/pieces/{count}")
    assert exchange.status == 200
    assert exchange.text == "".join(f"piece {number}\n" for number in range(count))
    assert exchange.length is None
    kind = "text/plain; charset=utf-8" if count else "application/octet-stream"
    assert exchange.headers["content-type"] == kind


def test_a_generator_that_fails_before_its_first_piece_answers_with_the_error() -> None:
    exchange = ask_offloaded(app, path="/fails/0")
    assert (exchange.status, exchange.text) == (409, "half way\n")


def test_a_generator_that_fails_later_cuts_the_response(caplog: pytest.LogCaptureFixture) -> None:
    exchange = ask_offloaded(app, path="/fails/2")
    assert exchange.aborted
    assert exchange.body == b"xx"
    assert "failed within its response" in caplog.text


@app.get("/async-pieces", offload=True)
def async_pieces(request: Request) -> StreamingResponse:
    async def made() -> AsyncIterator[bytes]:
        yield b"a"
        await asyncio.sleep(0)
        yield b"b"

    return StreamingResponse(made())


def test_an_asynchronous_iterator_streams_too() -> None:
    assert ask_offloaded(app, path="/async-pieces").body == b"ab"


# -- over there


def head_of(method: str = "GET", target: str = "/") -> Carried:
    return Carried.of(Request(FakeExchange(method, target)))


def whoami(request: Request) -> str:
    return request.method


def greet_json(word: str, request: Request) -> JSONResponse:
    return JSONResponse({"word": word})


def test_a_plain_response_travels_as_its_parts() -> None:
    assert answer(whoami, head_of(), b"") == (200, ((b"content-type", b"text/plain; charset=utf-8"),), b"GET")


def test_another_response_travels_as_it_is() -> None:
    made = answer(partial(greet_json, "hi"), head_of(), b"")
    assert type(made) is JSONResponse


def test_a_stream_begins_with_its_response() -> None:
    made = answer(pieces, head_of()._replace(path_params={"count": 2}), b"")
    assert type(made) is Streamed
    first, *rest = made.items
    assert isinstance(first, StreamingResponse)
    assert rest == ["piece 0\n", "piece 1\n"]


def test_a_request_over_there_without_an_app_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offloaded, "root", None)
    with pytest.raises(RuntimeError, match="plain handler"):
        answer(app_of, head_of(), b"")


def app_of(request: Request) -> str:
    return repr(request.app)
