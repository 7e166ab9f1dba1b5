"""Each request runs within a span that says what OpenTelemetry's conventions want, and ends with its response."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from opentelemetry import baggage, trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from prefork.apps.application import Application
from prefork.apps.asgi import AsgiApplication
from prefork.apps.native import AppApplication
from prefork.apps.tracing import TracedApplication, traced
from prefork.settings import Settings
from prefork.web import App, HTTPError, Request, StreamingResponse, WebSocket
from tests.apps.asgi_server import body, start
from tests.apps.wsgi_server import WsgiServer
from tests.http.server import Client, Flight, Server, request
from tests.http.websocket import HANDSHAKE
from tests.spans import Spans, kept_spans, parent_id, span_id, trace_id

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
TRACEPARENT = f"traceparent: 00-{TRACE}-{PARENT}-01"

tracer = trace.get_tracer("test")


@pytest.fixture
def spans() -> Iterator[Spans]:
    with kept_spans() as spans:
        yield spans


class TracedServer(Server):
    """An app behind a real connection, in memory, as a worker with --otel runs it."""

    def __init__(self, app: App | Application, **settings: Any) -> None:
        application = AppApplication(app, Settings(**settings)) if isinstance(app, App) else app
        super().__init__(TracedApplication(application, Settings(**settings), "test"), **settings)
        self.flight = self.service.flight = traced(Flight)()


def serve(app: App | Application, target: str = "/", *fields: str) -> Client:
    return TracedServer(app).connect().get(target, *fields)


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def hello() -> App:
    app = App()

    @app.get("/users/{id}")
    async def user(request: Request) -> str:
        with tracer.start_as_current_span("inside"):
            return str(baggage.get_baggage("tenant"))

    return app


def test_a_span_says_what_was_asked_and_how_it_was_answered(spans: Spans) -> None:
    client = serve(hello(), "/users/7?secret=1", "User-Agent: me", "Host: shop.example:8080")
    assert client.reply().status == 400  # Host twice: refused before there is a request
    assert spans.all == ()
    server = TracedServer(hello())
    server.connect().send(b"GET /users/7?secret=1 HTTP/1.1\r\nHost: shop.example:8080\r\nUser-Agent: me\r\n\r\n")
    span = spans.one("GET /users/{id}")
    assert span.kind is SpanKind.SERVER
    assert span.parent is None
    assert span.status.status_code is StatusCode.UNSET
    assert attributes(span) == {
        "http.request.method": "GET",
        "http.route": "/users/{id}",
        "http.response.status_code": 200,
        "http.response.body.size": 4,
        "url.scheme": "http",
        "url.path": "/users/7",
        "network.protocol.name": "http",
        "network.protocol.version": "1.1",
        "server.address": "shop.example",
        "server.port": 8080,
        "client.address": "192.0.2.7",
        "client.port": 50000,
        "network.peer.address": "192.0.2.7",
        "network.peer.port": 50000,
        "user_agent.original": "me",
    }
    assert parent_id(spans.one("inside")) == span_id(span)


def test_a_span_is_a_child_of_the_clients(spans: Spans) -> None:
    client = serve(hello(), "/users/7", TRACEPARENT, "tracestate: vendor=1", "baggage: tenant=blue")
    assert client.reply().body == b"blue"
    span = spans.one("GET /users/{id}")
    assert trace_id(span) == TRACE
    assert f"{parent_id(span):016x}" == PARENT
    assert span.context is not None
    assert span.context.trace_state.get("vendor") == "1"


@pytest.mark.parametrize("field", ["traceparent: nonsense", "traceparent: 00-0-0-01", "baggage: \xff;;=,="])
def test_what_is_no_trace_begins_a_new_one(spans: Spans, field: str) -> None:
    assert serve(hello(), "/users/7", field).reply().status == 200
    assert spans.one("GET /users/{id}").parent is None


def test_unsampled_requests_are_served_and_leave_nothing(spans: Spans) -> None:
    spans.sampler.on = False
    client = serve(hello(), "/users/7")
    client.get("/users/8", TRACEPARENT.removesuffix("1") + "0")
    assert client.statuses() == [200, 200]
    assert spans.all == ()
    client.get("/users/9", TRACEPARENT)  # the client's word counts
    assert spans.names == ["inside", "GET /users/{id}"]


def test_requests_of_a_connection_are_no_parents_of_each_other(spans: Spans) -> None:
    TracedServer(hello()).connect().send(request("GET", "/users/1") * 3)
    found = [span for span in spans.all if span.name != "inside"]
    assert len({trace_id(span) for span in found}) == 3


@pytest.mark.parametrize(("route", "name"), [("", "HTTP"), ("/users/{id}", "HTTP /users/{id}")])
def test_a_method_that_nobody_knows_makes_no_new_name(spans: Spans, route: str, name: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["prefork.route"] = route
        await send(start())
        await send(body(b""))

    TracedServer(AsgiApplication(app, Settings(lifespan="off"))).connect().send(request("PURGE", "/users/7"))
    span = spans.one()
    assert span.name == name
    assert attributes(span)["http.request.method"] == "_OTHER"
    assert attributes(span)["http.request.method_original"] == "PURGE"


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [(KeyError("x"), 500, "KeyError"), (HTTPError(404), 404, None), (HTTPError(503), 503, "503")],
)
def test_errors_of_the_server_are_errors_of_the_span(
    spans: Spans, error: Exception, status: int, kind: str | None
) -> None:
    app = App()

    @app.get("/")
    async def failing(request: Request) -> None:
        raise error

    assert serve(app).reply().status == status
    span = spans.one("GET /")
    assert attributes(span)["http.response.status_code"] == status
    assert attributes(span).get("error.type") == kind
    assert span.status.status_code is (StatusCode.ERROR if kind else StatusCode.UNSET)
    assert [event.name for event in span.events] == (["exception"] if kind == "KeyError" else [])


def streaming(gate: asyncio.Event, error: Exception | None = None) -> App:
    app = App()

    @app.get("/")
    async def stream(request: Request) -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"first"
            await gate.wait()
            if error is not None:
                raise error
            yield b"last"

        return StreamingResponse(pieces())

    return app


def test_a_span_lasts_as_long_as_its_response_streams(spans: Spans) -> None:
    gate = asyncio.Event()
    client = serve(streaming(gate))
    assert spans.all == ()
    gate.set()
    client.server.run()
    assert client.reply().status == 200
    assert attributes(spans.one("GET /"))["http.response.body.size"] == 9
    assert "error.type" not in attributes(spans.one())


def test_a_response_that_breaks_off_tells_why(spans: Spans) -> None:
    gate = asyncio.Event()
    client = serve(streaming(gate, ValueError("no more")))
    gate.set()
    client.server.run()
    span = spans.one("GET /")
    assert attributes(span)["error.type"] == "ValueError"
    assert span.status.status_code is StatusCode.ERROR


def test_a_client_that_leaves_is_no_fault_of_the_servers(spans: Spans) -> None:
    client = serve(streaming(asyncio.Event()))
    client.vanish()
    span = spans.one("GET /")
    assert attributes(span)["error.type"] == "prefork.errors.Disconnected"
    assert span.status.status_code is StatusCode.UNSET


def test_a_response_that_is_cut_is_a_fault(spans: Spans) -> None:
    client = serve(streaming(asyncio.Event()))
    client.server.service.cut()
    client.server.run()
    span = spans.one("GET /")
    assert attributes(span)["error.type"] == "cut"
    assert span.status.status_code is StatusCode.ERROR


def test_what_a_handler_does_after_its_response_does_not_lengthen_the_span(spans: Spans) -> None:
    gate = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(body(b"done"))
        with tracer.start_as_current_span("in the background"):
            await gate.wait()

    client = serve(AsgiApplication(app, Settings(lifespan="off")))
    assert client.reply().body == b"done"
    assert spans.names == ["GET"]
    gate.set()
    client.server.run()
    assert parent_id(spans.one("in the background")) == span_id(spans.one("GET"))


def test_the_span_of_a_websocket_ends_when_it_is_accepted(spans: Spans) -> None:
    app = App()

    @app.websocket("/ws/{room}")
    async def chat(websocket: WebSocket) -> None:
        await websocket.accept()
        with tracer.start_as_current_span("chatting"):
            await websocket.receive()

    client = serve(app, "/ws/blue", *HANDSHAKE)
    span = spans.one("GET /ws/{room}")
    assert attributes(span)["http.response.status_code"] == 101
    client.vanish()
    assert parent_id(spans.one("chatting")) == span_id(span)


def test_the_span_is_current_in_the_thread_of_a_wsgi_app(spans: Spans) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        with tracer.start_as_current_span("in a thread") as span:
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [json.dumps(f"{span.get_span_context().trace_id:032x}").encode()]

    with WsgiServer(app) as server:
        server.on_loop(_trace(server))
        assert json.loads(server.get("/", TRACEPARENT + "\r\n").text) == TRACE
        server.get("/")
    first = spans.all[0]
    assert first.name == "in a thread"
    assert parent_id(first) in {span_id(span) for span in spans.all if span.name == "GET"}


async def _trace(server: WsgiServer) -> None:
    server._service.app = TracedApplication(server.application, server.settings, "test").__call__


def test_the_wait_of_a_connection_is_told_with_its_first_request(spans: Spans) -> None:
    server = TracedServer(hello())
    client = server.connect()
    client.connection.accepted_at = 1e-9  # a moment after the machine was started
    client.get("/users/1").get("/users/2")
    first, second = (span for span in spans.all if span.name != "inside")
    assert attributes(first)["prefork.queue_wait_seconds"] > 0
    assert [event.name for event in first.events] == ["prefork.queued"]
    assert "prefork.queue_wait_seconds" not in attributes(second)
    assert second.events == ()


def test_start_up_and_shut_down_are_the_apps(spans: Spans) -> None:
    done: list[str] = []
    app = App()
    app.on_startup(lambda: done.append("up"))
    app.on_shutdown(lambda: done.append("down"))

    async def live() -> None:
        application = TracedApplication(AppApplication(app, Settings()), Settings(), "test")
        await application.startup()
        await application.shutdown()

    asyncio.run(live())
    assert done == ["up", "down"]


def test_the_routes_of_other_frameworks_name_spans_too(spans: Spans) -> None:
    async def user(request: Any) -> PlainTextResponse:
        return PlainTextResponse("hello")

    app = Starlette(routes=[Mount("/api", routes=[Route("/users/{id}", user)])])
    assert serve(AsgiApplication(app, Settings(lifespan="off")), "/api/users/7").reply().status == 200
    assert spans.one().name == "GET /api/users/{id}"
