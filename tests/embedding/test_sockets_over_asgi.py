"""WebSockets of an App where other servers run it."""

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine, MutableMapping
from typing import Any

import httpx
import pytest
import websockets.exceptions
from starlette.applications import Starlette
from starlette.routing import Mount
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from prefork import App, WebSocket
from prefork.errors import ResponseError, WebSocketClosed
from tests.embedding.servers import TestClient, hypercorn_serving, uvicorn_serving
from tests.embedding.site import make_site

Message = MutableMapping[str, Any]
CONNECT: Message = {"type": "websocket.connect"}


class Peer:
    """A server's side of one WebSocket."""

    def __init__(self, *messages: Message) -> None:
        self.incoming: asyncio.Queue[Message] = asyncio.Queue()
        self.sent: list[Message] = []
        self.news = asyncio.Event()
        self.say(CONNECT, *messages)

    def say(self, *messages: Message) -> None:
        for message in messages:
            self.incoming.put_nowait(message)

    async def receive(self) -> Message:
        return await self.incoming.get()

    async def send(self, message: Message) -> None:
        self.sent.append(message)
        self.news.set()

    async def heard(self, count: int) -> list[Message]:
        while len(self.sent) < count:
            self.news.clear()
            await self.news.wait()
        return self.sent

    @property
    def said(self) -> list[str]:
        return [message["type"].removeprefix("websocket.") for message in self.sent]


def scope(path: str, **more: Any) -> Message:
    return {
        "type": "websocket",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": path,
        "query_string": b"",
        "headers": [(b"upgrade", b"websocket")],
        "subprotocols": [],
        **more,
    }


def text(said: str) -> Message:
    return {"type": "websocket.receive", "text": said}


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        await test()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def serving(handler: Callable[[WebSocket], Any]) -> App:
    app = App()
    app.websocket("/")(handler)
    return app


def test_messages_go_both_ways_until_the_client_closes() -> None:
    async def test() -> None:
        app, peer = make_site(), Peer(text("hi"), {"type": "websocket.receive", "bytes": b"\0", "text": None})
        its = scope("/ws/x", scheme="wss", query_string=b"q=1", subprotocols=["b", "a"])
        answering = asyncio.create_task(app(its, peer.receive, peer.send))
        accept, hello, *echoes = await peer.heard(4)
        peer.say({"type": "websocket.disconnect", "code": 1001, "reason": "gone"})
        await answering
        assert accept == {"type": "websocket.accept", "subprotocol": "b", "headers": [(b"x-here", b"")]}
        assert json.loads(hello["text"]) == ["/ws/x", "x", "https", "1"]
        assert echoes == [{"type": "websocket.send", "text": "hi"}, {"type": "websocket.send", "bytes": b"\0"}]
        assert app.state.ends == [(1001, "gone")]

    run(test)


def test_the_app_closes() -> None:
    async def test() -> None:
        app, peer = make_site(), Peer(text("close"), text("late"))
        await app(scope("/ws/x"), peer.receive, peer.send)
        assert peer.sent[2:] == [{"type": "websocket.close", "code": 4001, "reason": "as you like"}]
        assert app.state.ends == [(4001, "as you like")]

    run(test)


def test_a_handler_that_returns_closes_and_one_that_fails_says_1011(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async def short(ws: WebSocket) -> None:
            await ws.accept()

        peer = Peer()
        await serving(short)(scope("/"), peer.receive, peer.send)
        assert peer.sent[1:] == [{"type": "websocket.close", "code": 1000, "reason": ""}]
        peer = Peer(text("fail"))
        await make_site()(scope("/ws/x"), peer.receive, peer.send)
        assert peer.sent[2:] == [{"type": "websocket.close", "code": 1011, "reason": "internal error"}]

    caplog.set_level(logging.ERROR)
    run(test)
    assert "broken in a WebSocket" in caplog.text


def test_denied_with_the_apps_answer_where_the_server_can_pass_it_on() -> None:
    async def test() -> None:
        peer = Peer()
        await make_site()(scope("/closed", extensions={"websocket.http.response": {}}), peer.receive, peer.send)
        start, body = peer.sent
        assert (start["type"], start["status"]) == ("websocket.http.response.start", 401)
        assert dict(start["headers"])[b"www-authenticate"] == b"Basic"
        assert (body["type"], body["body"]) == ("websocket.http.response.body", b"who are you?\n")

    run(test)


@pytest.mark.parametrize("path", ["/closed", "/nowhere", "/stream", "/missing"])
def test_denied_where_the_server_can_only_say_403(path: str) -> None:
    async def test() -> None:
        peer = Peer()
        await make_site()(scope(path), peer.receive, peer.send)
        assert peer.sent == [{"type": "websocket.close"}]

    run(test)


def test_a_client_that_leaves_before_it_is_heard_is_none() -> None:
    async def test() -> None:
        peer = Peer()
        peer.incoming.get_nowait()
        peer.say({"type": "websocket.disconnect", "code": 1006})
        await make_site()(scope("/ws/x"), peer.receive, peer.send)
        assert peer.sent == []

    run(test)


def test_sending_to_a_client_that_left_tells_how() -> None:
    async def test() -> None:
        closed = list[WebSocketClosed]()

        async def handler(ws: WebSocket) -> None:
            await ws.accept()
            try:
                while True:
                    await ws.send("x")
                    await asyncio.sleep(0)
            except WebSocketClosed as end:
                closed.append(end)

        peer = Peer({"type": "websocket.disconnect", "code": 1001, "reason": "bye"})
        await serving(handler)(scope("/"), peer.receive, peer.send)
        assert [(end.code, end.reason) for end in closed] == [(1001, "bye")]

    run(test)


def test_a_server_that_raises_in_send_has_lost_its_client() -> None:
    async def test() -> None:
        ends = list[int]()

        async def handler(ws: WebSocket) -> None:
            await ws.accept()
            with pytest.raises(WebSocketClosed) as caught:
                await ws.send("x")
            ends.append(caught.value.code)

        peer = Peer()

        async def send(message: Message) -> None:
            if message["type"] == "websocket.send":
                raise OSError("gone")

        await serving(handler)(scope("/"), peer.receive, send)
        assert ends == [1006]

    run(test)


def test_misuse_names_the_rule() -> None:
    async def test() -> None:
        rules = list[str]()

        async def handler(ws: WebSocket) -> None:
            async def breaks(work: Coroutine[Any, Any, Any]) -> None:
                with pytest.raises(ResponseError) as caught:
                    await work
                rules.append(str(caught.value))

            await breaks(ws.send("early"))
            await breaks(ws.accept("nobody"))
            await breaks(ws.accept(headers={"sec-websocket-accept": "x"}))
            await breaks(ws.accept(headers={"x": "a\nb"}))
            await ws.accept()
            await breaks(ws.accept())
            await breaks(ws.close(1005))
            await breaks(ws.close(1000, "x" * 124))

        peer = Peer()
        await serving(handler)(scope("/"), peer.receive, peer.send)
        assert peer.said == ["accept", "close"]
        assert len(rules) == 7

    run(test)


def test_messages_wait_in_the_server_while_the_app_is_slow() -> None:
    async def test() -> None:
        go, received = asyncio.Event(), list[str | bytes]()

        async def handler(ws: WebSocket) -> None:
            await ws.accept()
            await go.wait()
            async for message in ws:
                received.append(message)

        peer = Peer(*(text(str(number)) for number in range(100)))
        peer.say({"type": "websocket.disconnect", "code": 1000})
        answering = asyncio.create_task(serving(handler)(scope("/"), peer.receive, peer.send))
        await peer.heard(1)
        for _ in range(200):
            await asyncio.sleep(0)
        assert peer.incoming.qsize() > 80
        go.set()
        await answering
        assert received == [str(number) for number in range(100)]

    run(test)


def converse(url: str, mount_path: str = "") -> None:
    """What a client sees, whichever server brings it."""
    with connect(f"{url}/ws/x?q=1", subprotocols=[Subprotocol("chat")], proxy=None) as client:
        assert client.response is not None
        assert client.response.headers["x-here"] == mount_path
        assert client.subprotocol == "chat"
        assert json.loads(client.recv()) == [f"{mount_path}/ws/x", "x", "http", "1"]
        for message in ("text", b"\0\1", "x" * 100_000):
            client.send(message)
            assert client.recv() == message
        client.send("close")
        with pytest.raises(websockets.exceptions.ConnectionClosed):
            client.recv()
        assert (client.close_code, client.close_reason) == (4001, "as you like")
    with connect(f"{url}/ws/x", proxy=None) as client:
        client.recv()
        client.close(4002, "mine")


@pytest.mark.parametrize("ws", ["websockets-sansio", "wsproto"])
def test_under_uvicorn(ws: str) -> None:
    app = make_site()
    with uvicorn_serving(app, ws=ws) as url:
        url = url.replace("http", "ws")
        converse(url)
        with pytest.raises(websockets.exceptions.InvalidStatus) as denied:
            connect(f"{url}/closed", proxy=None)
        assert denied.value.response.status_code == 401
        while len(app.state.ends) < 2:
            httpx.get(f"{url.replace('ws:', 'http:')}/missing")
        assert app.state.ends == [(4001, "as you like"), (4002, "mine")]


def test_under_hypercorn() -> None:
    with hypercorn_serving(make_site()) as url:
        converse(url.replace("http", "ws"))


def test_mounted_in_starlette_and_in_its_test_client() -> None:
    app = make_site()
    with uvicorn_serving(Starlette(routes=[Mount("/in", app)])) as url:
        converse(url.replace("http", "ws") + "/in", "/in")
    with TestClient(app).websocket_connect("/ws/x?q=2") as client:
        assert client.receive_json() == ["/ws/x", "x", "http", "2"]
        client.send_text("hello")
        assert client.receive_text() == "hello"
