"""ASGI WebSockets: the scope, the messages and their order, denials, and what an app's end becomes."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from prefork.errors import ResponseError
from prefork.http.peer import Peer as Addresses
from prefork.web.asgi_types import Message, Receive, Scope, Send
from tests.apps.asgi_server import AsgiApp, AsgiServer
from tests.http.server import HERE, PEER, Client
from tests.http.transport import FakeTransport
from tests.http.websocket import BINARY, FINAL, HANDSHAKE, TEXT, Frame, Peer, close, frame, text

ACCEPT: Message = {"type": "websocket.accept"}
CLOSE: Message = {"type": "websocket.close"}


def start(status: int = 401, **more: object) -> Message:
    return {"type": "websocket.http.response.start", "status": status, "headers": [(b"x-why", b"key")], **more}


def body(data: bytes = b"", more: bool = False) -> Message:
    return {"type": "websocket.http.response.body", "body": data, "more_body": more}


def ask(app: AsgiApp, target: str = "/ws", *fields: str, **settings: Any) -> Client:
    return AsgiServer(app, **settings).get(target, *HANDSHAKE, *fields)


def sending(*messages: Message) -> AsgiApp:
    """An app that sends these, whatever comes."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return app


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    assert await receive() == {"type": "websocket.connect"}
    await send(ACCEPT)
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})


def misuse(*messages: Message) -> tuple[str, Peer]:
    """What the last of these raises, and what the client got."""
    raised: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages[:-1]:
            await send(message)
        try:
            await send(messages[-1])
        except ResponseError as error:
            raised.append(str(error))

    peer = Peer(ask(app))
    (said,) = raised
    return said, peer


# -- scope


def test_the_scope_is_that_of_a_websocket() -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)
        await send(CLOSE)

    ask(app, "/a%20b/c?x=1", "Sec-WebSocket-Protocol: a, b", root_path="/root")
    (scope,) = seen
    headers = dict(scope.pop("headers"))
    assert headers[b"upgrade"] == b"websocket"
    assert scope == {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": "/root/a b/c",
        "raw_path": b"/a%20b/c",
        "query_string": b"x=1",
        "root_path": "/root",
        "client": PEER,
        "server": HERE,
        "subprotocols": ["a", "b"],
        "state": {},
        "extensions": {"websocket.http.response": {}},
    }


def test_behind_tls_the_scheme_is_wss() -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["scheme"])
        await send(CLOSE)

    server = AsgiServer(app)
    connection = server.service.connection(0, Addresses(PEER, HERE, "https"))
    Client(server, connection, FakeTransport(server.loop.as_loop, connection, {})).get("/", *HANDSHAKE)
    assert seen == ["wss"]


# -- messages


def test_messages_go_both_ways_by_kind() -> None:
    peer = Peer(ask(echo)).send(text("ü"), frame(BINARY, b"\xff"), text(""))
    assert peer.frames == [Frame(FINAL | TEXT, "ü".encode()), Frame(FINAL | BINARY, b"\xff"), Frame(FINAL | TEXT, b"")]


def test_a_key_that_is_none_is_not_there() -> None:
    peer = Peer(
        ask(
            sending(
                ACCEPT,
                {"type": "websocket.send", "bytes": None, "text": "t"},
                {"type": "websocket.send", "bytes": bytearray(b"b"), "text": None},
            )
        )
    )
    assert peer.frames[:2] == [Frame(FINAL | TEXT, b"t"), Frame(FINAL | BINARY, b"b")]


def test_accept_carries_subprotocol_and_headers() -> None:
    accept = {**ACCEPT, "subprotocol": "b", "headers": [[b"x-a", b"1"]]}
    head = Peer(ask(sending(accept), "/ws", "Sec-WebSocket-Protocol: a, b")).head
    assert b"\r\nx-a: 1\r\nsec-websocket-protocol: b" in head


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (lambda peer: peer.send(close(4000, "bye")), {"code": 4000, "reason": "bye"}),
        (lambda peer: peer.send(close()), {"code": 1005, "reason": ""}),
        (lambda peer: peer.client.vanish(), {"code": 1006, "reason": "the client vanished"}),
        (lambda peer: peer.send(frame(TEXT, b"\xff")), {"code": 1007, "reason": "a text message is not UTF-8"}),
        (lambda peer: peer.client.server.service.drain(None), {"code": 1012, "reason": "service restart"}),
    ],
)
def test_disconnect_says_why_as_often_as_it_is_asked(end: Callable[[Peer], object], expected: dict[str, Any]) -> None:
    seen: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        seen.extend([await receive(), await receive()])

    peer = Peer(ask(app))
    end(peer)
    peer.client.server.run()
    assert seen == [{"type": "websocket.disconnect", **expected}] * 2


def test_sending_to_a_client_that_left_is_an_os_error_and_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        await receive()
        with pytest.raises(OSError, match="1000"):
            await send({"type": "websocket.send", "text": "late"})
        await send(CLOSE)

    peer = Peer(ask(app)).send(close(1000))
    assert peer.closed == (1000, "")
    assert caplog.records == []


def test_the_app_closes_with_code_and_reason_and_hears_of_it() -> None:
    seen: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        await send({"type": "websocket.close", "code": 4001, "reason": "enough"})
        seen.extend([await receive(), await receive()])

    assert Peer(ask(app)).closed == (4001, "enough")
    assert seen[1:] == [{"type": "websocket.disconnect", "code": 4001, "reason": "enough"}]


@pytest.mark.parametrize("more", [{}, {"code": None, "reason": None}])
def test_a_close_without_a_code_is_1000(more: dict[str, Any]) -> None:
    assert Peer(ask(sending(ACCEPT, {**CLOSE, **more}))).closed == (1000, "")


# -- denials


def test_close_before_accept_is_403_and_the_app_hears_of_it() -> None:
    seen: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(CLOSE)
        seen.append(await receive())

    assert ask(app).get("/ws", *HANDSHAKE).statuses() == [403, 403]
    assert [message["type"] for message in seen] == ["websocket.disconnect"] * 2


def test_a_denial_may_be_a_whole_response_in_pieces() -> None:
    reply = ask(sending(start(), body(b"who ", more=True), body(b"are you?"))).reply()
    assert (reply.status, reply.fields["x-why"], reply.body) == (401, "key", b"who are you?")
    assert ask(sending(start(429), body(b"later"))).reply().status == 429


def test_a_denial_that_is_not_finished_is_no_whole_answer(caplog: pytest.LogCaptureFixture) -> None:
    client = ask(sending(start(), body(b"half", more=True)))
    assert client.transport.reset
    assert "returned without sending the last http.response.body" in caplog.text


def test_a_client_that_leaves_before_the_app_decides() -> None:
    seen: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        seen.append(await receive())
        for message in (ACCEPT, CLOSE, start()):
            with pytest.raises(OSError, match="left"):
                await send(message)
        seen.append({"type": "ended"})

    ask(app).vanish()
    assert [message["type"] for message in seen] == ["websocket.disconnect", "ended"]
    assert seen[0]["code"] == 1006


# -- order and types


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        (
            [{"type": "websocket.send", "text": "x"}],
            "websocket.send was sent where websocket.accept, websocket.close or websocket.http.response.start is",
        ),
        ([ACCEPT, ACCEPT], "websocket.accept was sent where websocket.send or websocket.close is expected"),
        ([ACCEPT, start()], "websocket.http.response.start was sent where websocket.send or"),
        ([ACCEPT, CLOSE, CLOSE], "websocket.close was sent after websocket.close"),
        ([ACCEPT, CLOSE, {"type": "websocket.send", "text": "x"}], "websocket.send was sent after websocket.close"),
        ([CLOSE, ACCEPT], "websocket.accept was sent after websocket.close"),
        ([start(), ACCEPT], "websocket.accept was sent where websocket.http.response.body is expected"),
        ([body(b"x")], "http.response.body was sent where http.response.start is expected"),
        ([{"type": "http.response.start", "status": 200}], "'http.response.start' is no message of a WebSocket"),
        ([ACCEPT, {"type": "websocket.send"}], "needs `text` as str, or `bytes` as a byte string"),
        ([ACCEPT, {"type": "websocket.send", "text": b"x"}], "needs `text` as str"),
        ([ACCEPT, {"type": "websocket.send", "bytes": "x"}], "needs `text` as str"),
        ([ACCEPT, {**CLOSE, "code": 1005}], "RFC 6455, 7.4"),
        ([ACCEPT, {**CLOSE, "code": "1000"}], "needs `code` as int and `reason` as str"),
        ([ACCEPT, {**CLOSE, "reason": "x" * 124}], "123 bytes"),
        ([{**ACCEPT, "subprotocol": "z"}], "does not offer the subprotocol 'z'"),
        ([{**ACCEPT, "headers": [(b"sec-websocket-protocol", b"a")]}], "belongs to the handshake"),
        ([{**ACCEPT, "headers": [("x", "a")]}], "names and values of headers are byte strings"),
    ],
)
def test_misuse_is_an_error_that_names_the_rule(messages: list[Message], said: str) -> None:
    assert said in misuse(*messages)[0]


# -- how an app ends


def test_an_app_that_returns_closes_with_1000() -> None:
    assert Peer(ask(sending(ACCEPT))).closed == (1000, "")


def test_an_app_that_returns_without_a_decision_is_500_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert ask(sending()).statuses() == [500]
    assert "returned without sending websocket.accept or websocket.close" in caplog.text


@pytest.mark.parametrize(("before", "status"), [((), 500), ((ACCEPT,), 101)])
def test_an_app_that_raises_is_500_before_accept_and_1011_after(
    before: tuple[Message, ...], status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in before:
            await send(message)
        raise LookupError("oops")

    client = ask(app)
    assert client.received.startswith(b"HTTP/1.1 %d " % status)
    if before:
        assert Peer(client).closed == (1011, "internal error")
    assert caplog.text.count("oops") >= 1


def test_an_app_whose_client_vanished_is_cancelled_after_its_grace_time(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        await asyncio.Event().wait()

    client = ask(app, disconnect_grace_seconds=2)
    client.vanish()
    client.server.advance(1.5)
    assert client.server.cancelled == []
    client.server.advance(1)
    assert client.server.cancelled == ["/ws"]
    assert caplog.records == []
    assert client.server.service.connections == set()


def test_a_bad_handshake_never_reaches_the_app() -> None:
    client = AsgiServer(sending()).get("/ws", "Upgrade: websocket", "Connection: Upgrade")
    assert client.statuses() == [426]


# -- Starlette


def starlette(endpoint: Callable[[WebSocket], Awaitable[None]]) -> AsgiApp:
    return Starlette(routes=[WebSocketRoute("/ws/{room}", endpoint)])


def test_starlettes_websocket_runs_unchanged() -> None:
    ends: list[int] = []

    async def chat(websocket: WebSocket) -> None:
        await websocket.accept(subprotocol="chat", headers=[(b"x-room", websocket.path_params["room"].encode())])
        try:
            while True:
                await websocket.send_json({"said": await websocket.receive_text()})
        except WebSocketDisconnect as gone:
            ends.append(gone.code)

    peer = Peer(ask(starlette(chat), "/ws/blue", "Sec-WebSocket-Protocol: chat")).send(text("hi"), close(4002))
    assert b"\r\nx-room: blue\r\n" in peer.head
    assert peer.texts == ['{"said":"hi"}']
    assert ends == [4002]


def test_starlettes_denials_are_answers() -> None:
    async def deny(websocket: WebSocket) -> None:
        await websocket.send_denial_response(JSONResponse({"why": "key"}, 401))

    reply = ask(starlette(deny), "/ws/a").reply()
    assert (reply.status, reply.body) == (401, b'{"why":"key"}')
    assert ask(starlette(deny), "/none").reply().status == 403
