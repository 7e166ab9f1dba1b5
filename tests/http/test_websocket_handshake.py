"""The opening handshake (RFC 6455, 4.2): who gets a WebSocket, who an error that says why."""

import logging

import pytest

from prefork.errors import ResponseError
from prefork.http import websocket_handshake
from prefork.http.exchange import Exchange
from prefork.http.websocket import WebSocket
from tests.http.server import Server, request
from tests.http.websocket import ACCEPT, HANDSHAKE, KEY, Peer, Sockets, echo, text


def ask(*fields: str, method: str = "GET", body: bytes = b"", **settings: object) -> bytes:
    """What a server says to a request with these fields."""
    client = Sockets(echo, **settings).connect()
    client.send(request(method, "/ws", *fields, body=body))
    return client.received


def test_the_answer_proves_that_it_was_a_websocket_that_was_asked_for() -> None:
    head = ask(*HANDSHAKE)
    assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert b"\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: " + ACCEPT in head
    assert b"sec-websocket-protocol" not in head
    assert b"sec-websocket-extensions" not in head


@pytest.mark.parametrize(
    ("changed", "status", "said"),
    [
        ({"Sec-WebSocket-Key": None}, 400, b"Sec-WebSocket-Key"),
        ({"Sec-WebSocket-Key": "c2hvcnQ="}, 400, b"16 bytes in base64"),
        ({"Sec-WebSocket-Key": "~~~"}, 400, b"16 bytes in base64"),
        ({"Sec-WebSocket-Key": "d\xe9"}, 400, b"16 bytes in base64"),
        ({"Sec-WebSocket-Version": None}, 426, b"sec-websocket-version: 13\r\n"),
        ({"Sec-WebSocket-Version": "8"}, 426, b"sec-websocket-version: 13\r\n"),
        ({"Sec-WebSocket-Version": "8, 13"}, 426, b"sec-websocket-version: 13\r\n"),
        ({"Sec-WebSocket-Protocol": "a b"}, 400, b"Sec-WebSocket-Protocol"),
        ({"Sec-WebSocket-Extensions": "=1"}, 400, b"Sec-WebSocket-Extensions"),
        ({"Content-Length": "3"}, 400, b"no body"),
    ],
)
def test_a_handshake_that_breaks_a_rule_gets_a_readable_error(
    changed: dict[str, str | None], status: int, said: bytes
) -> None:
    fields = dict(field.split(": ", 1) for field in HANDSHAKE) | changed
    answer = ask(*(f"{name}: {value}" for name, value in fields.items() if value is not None))
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer
    assert said in answer
    assert b"\r\nconnection: close\r\n" in answer


def test_two_keys_are_none() -> None:
    assert ask(*HANDSHAKE, f"Sec-WebSocket-Key: {KEY}").startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    ("method", "fields", "asks"),
    [
        ("GET", HANDSHAKE, True),
        ("GET", ("Upgrade: h2c, WebSocket", "Connection: keep-alive, upgrade"), True),
        ("POST", HANDSHAKE, False),
        ("GET", ("Upgrade: h2c", "Connection: Upgrade"), False),
        ("GET", ("Upgrade: websocket",), False),
        ("GET", ("Connection: Upgrade",), False),
        ("GET", (), False),
    ],
)
def test_only_a_whole_offer_of_websocket_is_one(method: str, fields: tuple[str, ...], asks: bool) -> None:
    seen: list[bool] = []

    async def app(exchange: Exchange) -> None:
        seen.append(exchange.asks_websocket)
        exchange.respond(200, (), b"")

    Server(app).connect().send(request(method, "/", *fields))
    assert seen == [asks]


def test_an_offer_that_the_app_ignores_gets_an_ordinary_answer_and_the_connection_goes_on() -> None:
    async def app(exchange: Exchange) -> None:
        exchange.respond(200, (), b"plain")

    client = Server(app).connect().get("/", *HANDSHAKE).get("/")
    assert client.statuses() == [200, 200]


def accepting(socket_check: object, *fields: str) -> tuple[list[str], bytes]:
    """The subprotocols offered, and the answer after `socket_check` ran instead of an app."""
    offered: list[str] = []

    async def app(exchange: Exchange) -> None:
        socket = exchange.websocket()
        offered.extend(socket.subprotocols)
        socket_check(socket)  # type: ignore[operator]

    client = Server(app).connect().get("/ws", *HANDSHAKE, *fields)
    return offered, client.received


def test_the_app_chooses_among_the_subprotocols_that_are_offered() -> None:
    offered, answer = accepting(
        lambda socket: socket.accept("b"), "Sec-WebSocket-Protocol: a, b", "Sec-WebSocket-Protocol: c"
    )
    assert offered == ["a", "b", "c"]
    assert b"\r\nsec-websocket-protocol: b\r\n" in answer


def test_fields_of_the_app_go_into_the_answer() -> None:
    _, answer = accepting(lambda socket: socket.accept(None, [(b"set-cookie", b"a=1"), (b"x-y", b"z")]))
    assert b"\r\nset-cookie: a=1\r\nx-y: z\r\n" in answer


@pytest.mark.parametrize(
    ("subprotocol", "fields", "said"),
    [
        ("d", (), "does not offer the subprotocol 'd'"),
        (None, ((b"Sec-WebSocket-Protocol", b"a"),), "belongs to the handshake"),
        (None, ((b"upgrade", b"a"),), "belongs to the handshake"),
        (None, ((b"x", b"a\r\nb"),), "CR, LF or NUL"),
    ],
)
def test_misuse_of_accept_is_an_error_that_names_the_rule_and_another_answer_may_follow(
    subprotocol: str | None, fields: tuple[tuple[bytes, bytes], ...], said: str
) -> None:
    def check(socket: WebSocket) -> None:
        with pytest.raises(ResponseError, match=said):
            socket.accept(subprotocol, fields)
        socket.exchange.respond(403, (), b"no")

    _, answer = accepting(check, "Sec-WebSocket-Protocol: a")
    assert answer.startswith(b"HTTP/1.1 403 ")


def test_it_is_accepted_once() -> None:
    def check(socket: WebSocket) -> None:
        socket.accept()
        with pytest.raises(ResponseError, match="accepted already"):
            socket.accept()

    accepting(check)


def test_messages_behind_the_handshake_are_not_lost() -> None:
    peer = Peer(Sockets(echo).connect().send(request("GET", "/", *HANDSHAKE) + text("early") + text("bird")))
    assert peer.texts == ["early", "bird"]


def test_without_the_package_a_websocket_is_501_and_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(websocket_handshake, "WebSocket", None)
    websocket_handshake._tell_once.cache_clear()
    with caplog.at_level(logging.ERROR):
        assert ask(*HANDSHAKE).startswith(b"HTTP/1.1 501 ")
        assert ask(*HANDSHAKE).startswith(b"HTTP/1.1 501 ")
    (record,) = caplog.records
    assert "pip install 'prefork[standard]'" in record.getMessage()
