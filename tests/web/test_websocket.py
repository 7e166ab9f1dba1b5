"""WebSockets of an App: routes, what a handler can do, and how its end becomes the WebSocket's."""

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from prefork.apps.native import AppApplication
from prefork.errors import ResponseError, WebSocketClosed
from prefork.settings import Settings
from prefork.web import App, HTTPError, Request, Response, WebSocket
from tests.http.server import Client, Server, request
from tests.http.websocket import BINARY, FINAL, HANDSHAKE, Frame, Peer, close, frame, text


class Site(Server):
    """An App behind real connections, in memory."""

    def __init__(self, app: App, **settings: Any) -> None:
        super().__init__(AppApplication(app, Settings(**settings)), **settings)

    def ask(self, target: str = "/ws", *fields: str) -> Client:
        """A client that asked for a WebSocket."""
        return self.connect().get(target, *HANDSHAKE, *fields)

    def open(self, target: str = "/ws", *fields: str) -> Peer:
        peer = Peer(self.ask(target, *fields))
        assert peer.head.startswith(b"HTTP/1.1 101 "), peer.head
        return peer


def serving(handler: Callable[[WebSocket], Any], path: str = "/ws", **settings: Any) -> Site:
    app = App()
    app.websocket(path)(handler)
    return Site(app, **settings)


async def echo(ws: WebSocket) -> None:
    await ws.accept()
    async for message in ws:
        await ws.send(message)


def test_an_echo() -> None:
    peer = serving(echo).open().send(text("a"), frame(BINARY, b"b"), close(1000, "bye"))
    assert peer.frames[:2] == [Frame(FINAL | 1, b"a"), Frame(FINAL | 2, b"b")]
    assert peer.closed == (1000, "bye")


def test_the_handler_has_the_request_and_closes_by_returning() -> None:
    async def handler(ws: WebSocket) -> None:
        request = ws.request
        await ws.accept("v2", {"x-id": "7"})
        room, name = request.path_params["room"], request.query["name"]
        await ws.send(f"{request.path} {room} {name} {request.headers['x-a']} {ws.subprotocols} {request.app is app}")

    app = App()
    app.websocket("/rooms/{room:int}")(handler)
    peer = Site(app).open("/rooms/5?name=ann", "X-A: b", "Sec-WebSocket-Protocol: v1, v2")
    assert peer.texts == ["/rooms/5 5 ann b ['v1', 'v2'] True"]
    assert b"\r\nx-id: 7\r\nsec-websocket-protocol: v2" in peer.head
    assert peer.closed == (1000, "")


def test_json_both_ways_and_validated() -> None:
    class Move(msgspec.Struct):
        x: int

    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        await ws.send_json({"got": await ws.receive_json()})
        while True:
            await ws.send_json((await ws.receive_json(Move)).x + 1)

    peer = (
        serving(handler)
        .open()
        .send(text('{"a": [1]}'), text('{"x": 4}'), frame(BINARY, b'{"x": 5}'), text('{"x": ""}'))
    )
    assert [json.loads(one) for one in peer.texts] == [{"got": {"a": [1]}}, 5, 6]
    assert peer.closed == (1007, "Expected `int`, got `str` - at `$.x`")


@pytest.mark.parametrize("message", [b"nonsense", b"\xff"])
def test_what_is_no_json_is_1007_and_no_traceback(message: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        await ws.receive_json()

    closed = serving(handler).open().send(frame(BINARY, message)).closed
    assert closed is not None
    assert closed[0] == 1007
    assert caplog.records == []


def test_a_loop_ends_however_it_ends_and_closed_tells_how() -> None:
    seen: list[object] = []

    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        async for message in ws:
            seen.append(message)
        assert ws.closed is not None
        seen.append(ws.closed.code)
        await ws.close()  # nothing happens: it is closed

    site = serving(handler)
    site.open().send(text("a"), close(4000))
    site.open().client.vanish()
    site.open()
    site.service.drain(None)
    site.run()
    assert seen == ["a", 4000, 1006, 1012]


def test_receive_raises_at_the_end_and_that_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        while True:
            await ws.receive()

    assert serving(handler).open().send(close(1000)).closed == (1000, "")
    assert caplog.records == []


def test_before_it_accepts_a_handler_cannot_receive_or_send() -> None:
    async def handler(ws: WebSocket) -> None:
        with pytest.raises(RuntimeError, match="accept the WebSocket before"):
            await ws.receive()
        with pytest.raises(ResponseError, match="not been accepted"):
            await ws.send("x")
        with pytest.raises(ResponseError, match="not been accepted"):
            await ws.close()

    assert serving(handler).ask().statuses() == [403]


# -- denials


def test_a_handler_that_returns_without_accepting_denies_with_403() -> None:
    async def handler(ws: WebSocket) -> None:
        pass

    client = serving(handler).ask().get("/none")
    assert client.statuses() == [403, 404], "and the connection goes on"


def test_an_http_error_before_accept_is_the_answer() -> None:
    async def handler(ws: WebSocket) -> None:
        raise HTTPError(401, "who are you?", {"www-authenticate": "Basic"})

    reply = serving(handler).ask().reply()
    assert (reply.status, reply.body) == (401, b"who are you?\n")
    assert reply.fields["www-authenticate"] == "Basic"


def test_an_exception_handler_answers_what_was_raised_before_accept() -> None:
    app = App()

    @app.exception_handler(KeyError)
    async def missing(request: Request, error: KeyError) -> Response:
        return Response(f"no {error.args[0]}", 410)

    @app.websocket("/ws")
    async def handler(ws: WebSocket) -> None:
        raise KeyError("room")

    reply = Site(app).ask().reply()
    assert (reply.status, reply.body) == (410, b"no room")


def test_a_failure_before_accept_is_500_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(ws: WebSocket) -> None:
        raise LookupError("oops")

    assert serving(handler).ask().statuses() == [500]
    assert "oops" in caplog.text


def test_a_failure_after_accept_is_1011_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        raise HTTPError(404)

    assert serving(handler).open().closed == (1011, "internal error")
    (record,) = caplog.records
    assert "GET /ws failed in its WebSocket, which is closed" in record.getMessage()
    assert record.exc_info is not None


def test_a_cancellation_that_is_not_the_handlers_own_is_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        other = asyncio.get_running_loop().create_task(asyncio.Event().wait())
        other.cancel()
        await other

    assert serving(handler).open().closed == (1011, "internal error")
    assert len(caplog.records) == 1


def test_a_handler_that_is_cancelled_at_the_drain_limit_logs_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        await asyncio.Event().wait()

    site = serving(handler)
    with caplog.at_level(logging.ERROR):
        site.open()
        site.service.cut()
        site.run()
    assert caplog.records == []
    assert site.cancelled == ["/ws"]


def test_a_failure_after_the_client_left_is_logged_and_nothing_more(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        async for _ in ws:
            pass
        raise LookupError("too late")

    site = serving(handler)
    site.open().client.vanish()
    assert "too late" in caplog.text
    assert site.service.connections == set()


# -- routing


def test_a_plain_request_for_a_websocket_is_426() -> None:
    site = serving(echo, "/ws/{name}")
    reply = site.connect().get("/ws/a").reply()
    assert (reply.status, reply.fields["upgrade"]) == (426, "websocket")
    assert site.connect().send(request("POST", "/ws/a")).statuses() == [405]
    assert site.connect().send(request("OPTIONS", "/ws/a")).reply().fields["allow"] == "GET, HEAD, OPTIONS"


def test_a_websocket_request_for_anything_else_gets_what_others_get() -> None:
    app = App()

    @app.get("/page")
    async def page(request: Request) -> str:
        return "page"

    site = Site(app)
    assert site.ask("/page").statuses() == [200]
    assert site.ask("/none").statuses() == [404]
    # The handshake is nobody's business where there is no WebSocket.
    assert site.connect().get("/page", "Upgrade: websocket", "Connection: Upgrade").statuses() == [200]


def test_one_path_may_serve_both() -> None:
    app = App()
    app.websocket("/both")(echo)

    @app.get("/both")
    async def page(request: Request) -> str:
        return "page"

    site = Site(app)
    assert site.connect().get("/both").reply().body == b"page"
    assert site.connect().get("/both", "Upgrade: h2c", "Connection: Upgrade").reply().body == b"page"
    assert site.open("/both").send(text("a")).texts == ["a"]


def test_a_mounted_app_serves_its_websockets() -> None:
    async def where(ws: WebSocket) -> None:
        await ws.accept()
        await ws.send(f"{ws.request.mount_path} {ws.request.path_params} {ws.request.app is inner}")

    inner, outer = App(), App()
    inner.websocket("/{name}")(where)
    outer.mount("/api/v1", inner)
    assert Site(outer).open("/api/v1/x").texts == ["/api/v1 {'name': 'x'} True"]
    assert Site(outer).connect().get("/api/v1/x").statuses() == [426]
    assert Site(outer).ask("/api/v1").statuses() == [404]


def test_a_bad_handshake_at_a_websocket_is_the_clients_error() -> None:
    site = serving(echo)
    assert site.connect().get("/ws", "Upgrade: websocket", "Connection: Upgrade").statuses() == [426]


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        (lambda ws: None, "must be async def"),
        (lambda: None, r"must take \(ws\)"),
        (3, "a handler is a function, not int"),
    ],
)
def test_what_is_no_handler_is_refused(handler: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        App().websocket("/ws")(handler)


def test_a_path_is_served_once() -> None:
    app = App()
    app.websocket("/ws")(echo)
    with pytest.raises(ValueError, match="defined already"):
        app.websocket("/ws")(echo)


# -- middleware


def test_middleware_is_around_the_whole_life_and_may_deny() -> None:
    seen: list[object] = []
    app = App()

    @app.middleware
    async def door(request: Request, call_next: Callable[[Request], Any]) -> Response:
        if "key" not in request.query:
            return Response("no key", 401)
        response: Response = await call_next(request)
        response.headers["x-late"] = "1"
        seen.append(response.status)
        return response

    app.websocket("/ws")(echo)
    site = Site(app)
    assert site.ask().statuses() == [401]
    peer = site.open("/ws?key=1").send(text("a"))
    assert seen == []
    peer.send(close(1000))
    assert seen == [101]
    assert b"x-late" not in peer.client.received


def test_the_end_is_an_exception_of_its_own() -> None:
    error = WebSocketClosed(4000, "why")
    assert isinstance(error, OSError)
    assert (error.code, error.reason, str(error)) == (4000, "why", "the WebSocket is closed: 4000 why")
