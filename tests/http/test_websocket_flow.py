"""The life of a WebSocket: back-pressure both ways, silent clients, endings, and a worker that drains."""

import asyncio
from typing import Any

import pytest

from prefork.errors import Disconnected, ResponseError, WebSocketClosed
from prefork.http.exchange import Exchange
from prefork.http.outgoing import WRITES_A_TURN
from prefork.http.websocket import CLOSE_SECONDS, WebSocket
from prefork.http.websocket_inbox import QUEUED_BYTES
from tests.http.server import Server
from tests.http.websocket import (
    BINARY,
    CLOSE,
    FINAL,
    HANDSHAKE,
    PING,
    PONG,
    TEXT,
    Frame,
    Peer,
    Reading,
    Sockets,
    close,
    echo,
    frame,
    text,
)


def one(server: Sockets) -> WebSocket:
    (socket,) = server.sockets
    return socket


def is_read(peer: Peer) -> bool:
    return peer.transport.reading


def is_over(peer: Peer) -> bool:
    return peer.client.ended


# -- from the client


def test_an_app_that_does_not_receive_stops_the_client_at_the_queues_length() -> None:
    app = Reading()
    server = Sockets(app, websocket_queue=4)
    peer = server.open().send(*(text(str(number)) for number in range(3)))
    assert is_read(peer)
    peer.send(text("3"), text("4"))
    assert not is_read(peer)
    assert peer.transport.unread == text("4")
    app.take(server, 2)
    assert is_read(peer)
    app.take(server, 3)
    assert app.messages == ["0", "1", "2", "3", "4"]


def test_it_also_stops_at_a_number_of_bytes() -> None:
    app = Reading()
    server = Sockets(app)
    peer = server.open().send(frame(BINARY, bytes(QUEUED_BYTES - 1)))
    assert is_read(peer)
    peer.send(frame(BINARY, b"x"))
    assert not is_read(peer)
    app.take(server)
    assert is_read(peer)


def test_of_what_one_read_holds_no_more_is_taken_apart_than_the_queue_takes() -> None:
    app = Reading()
    server = Sockets(app, websocket_queue=2)
    peer = server.open().send(b"".join(text(str(number)) for number in range(100)))
    assert len(one(server)._inbox) == 2
    assert not is_read(peer)
    app.take(server, 100)
    assert app.messages == [str(number) for number in range(100)]
    assert is_read(peer)


def test_what_arrived_before_the_end_is_received_before_it() -> None:
    app = Reading()
    server = Sockets(app)
    server.open().send(text("a"), text("b"), close(1000, "done"))
    app.take(server, 3)
    assert app.messages == ["a", "b"]
    assert app.end is not None
    assert (app.end.code, app.end.reason) == (1000, "done")


@pytest.mark.parametrize("last", [close(1000), frame(TEXT, b"x", mask=None), frame(CLOSE, bytes(126))])
def test_messages_before_the_end_are_answered_by_an_app_that_does_so_at_once(last: bytes) -> None:
    peer = Sockets(echo).open().send(text("a") + text("b") + last + text("never"))
    assert peer.texts == ["a", "b"]
    assert peer.closed is not None


def test_an_app_that_does_not_receive_holds_the_end_up_for_no_longer_than_that() -> None:
    server = Sockets(Reading())
    assert server.open().send(text("a") + close(1000)).closed == (1000, "")


def test_two_tasks_cannot_receive_at_once() -> None:
    failures: list[BaseException] = []

    async def app(socket: WebSocket) -> None:
        other = socket.loop.create_task(socket.receive())
        await asyncio.sleep(0)
        try:
            await socket.receive()
        except RuntimeError as error:
            failures.append(error)
        assert await other == "a"

    Sockets(app).open().send(text("a"))
    assert "another task" in str(failures)


def test_a_receive_that_was_cancelled_loses_no_message() -> None:
    received: list[str | bytes] = []

    async def app(socket: WebSocket) -> None:
        first = socket.loop.create_task(socket.receive())
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        received.append(await socket.receive())

    Sockets(app).open().send(text("a"))
    assert received == ["a"]


# -- to the client


def test_an_app_waits_for_a_slow_client() -> None:
    sent: list[int] = []

    async def app(socket: WebSocket) -> None:
        for number in range(10):
            await socket.send(bytes(30 * 1024))
            sent.append(number)

    server = Sockets(app)
    client = server.connect()
    client.transport.slow = True
    client.get("/", *HANDSHAKE)
    assert sent == [0, 1]
    client.read(1 << 20)
    assert sent == [0, 1, 2, 3, 4]
    client.read(1 << 20)
    client.read(1 << 20)
    assert sent == list(range(10))


def test_pings_of_a_client_that_does_not_read_are_not_collected() -> None:
    async def app(socket: WebSocket) -> None:
        await socket.send(bytes(100 * 1024))
        await socket.receive()

    server = Sockets(app)
    client = server.connect()
    client.transport.slow = True
    client.get("/", *HANDSHAKE)
    waiting = client.transport.get_write_buffer_size()
    for number in range(100):
        client.send(frame(PING, b"%d" % number))
    assert client.transport.get_write_buffer_size() == waiting
    client.read(1 << 20)
    client.read(1 << 20)
    assert Peer(client).frames[1:] == [Frame(FINAL | PONG, b"99")]


@pytest.mark.parametrize("message", ["", "ü", b"", b"x", bytearray(b"y"), memoryview(b"z")])
def test_text_is_sent_as_text_and_bytes_as_binary(message: Any) -> None:
    async def app(socket: WebSocket) -> None:
        await socket.send(message)

    peer = Sockets(app).open()
    expected = (
        Frame(FINAL | TEXT, message.encode()) if isinstance(message, str) else Frame(FINAL | BINARY, bytes(message))
    )
    assert peer.frames[0] == expected


def misuse(call: Any, before: Any = None) -> BaseException:
    """What an accepted WebSocket raises."""
    raised: list[BaseException] = []

    async def app(socket: WebSocket) -> None:
        if before is not None:
            before(socket)
        try:
            await call(socket)
        except (ResponseError, TypeError) as error:
            raised.append(error)
        if before is not None:
            await socket.loop.create_future()

    Sockets(app).open()
    (error,) = raised
    return error


async def close_with(socket: WebSocket, *arguments: Any) -> None:
    socket.close(*arguments)


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, -1, 70000])
def test_a_code_that_cannot_be_sent_is_an_error_that_names_the_rule(code: int) -> None:
    assert "RFC 6455, 7.4" in str(misuse(lambda socket: close_with(socket, code)))


def test_a_reason_has_at_most_123_bytes() -> None:
    assert "123 bytes" in str(misuse(lambda socket: close_with(socket, 1000, "ü" * 62)))


def test_what_is_no_message_is_a_type_error() -> None:
    assert "str or bytes, not int" in str(misuse(lambda socket: socket.send(1)))


@pytest.mark.parametrize("call", [lambda socket: socket.send("late"), lambda socket: close_with(socket)])
def test_after_it_closed_the_app_cannot_send(call: Any) -> None:
    assert "closed: by the app itself" in str(misuse(call, before=lambda socket: socket.close(4000)))


def test_before_it_is_accepted_nothing_can_be_sent() -> None:
    async def app(exchange: Exchange) -> None:
        socket = exchange.websocket()
        with pytest.raises(ResponseError, match="has not been accepted"):
            await socket.send("early")
        with pytest.raises(ResponseError, match="has not been accepted"):
            socket.close()
        exchange.respond(403, ())

    assert Server(app).connect().get("/", *HANDSHAKE).statuses() == [403]


# -- the app closes


def test_the_app_closes_and_the_clients_close_frame_ends_it() -> None:
    async def app(socket: WebSocket) -> None:
        socket.close(4001, "enough")
        with pytest.raises(WebSocketClosed) as caught:
            await socket.receive()
        assert (caught.value.code, caught.value.reason) == (4001, "enough")

    server = Sockets(app)
    peer = server.open()
    assert peer.closed == (4001, "enough")
    assert not is_over(peer)
    peer.send(text("on its way"), close(4001))
    assert is_over(peer)
    assert server.service.connections == set()


def test_the_close_frame_is_found_behind_what_the_app_did_not_want() -> None:
    async def app(socket: WebSocket) -> None:
        await socket.receive()
        socket.close()

    server = Sockets(app, websocket_queue=1)
    peer = server.open().send(b"".join([text("a")] * 50) + close(1000))
    assert peer.client.ended
    assert server.service.connections == set()


def test_a_client_that_does_not_answer_a_close_frame_has_its_time() -> None:
    async def app(socket: WebSocket) -> None:
        socket.close()

    server = Sockets(app)
    peer = server.open()
    server.advance(CLOSE_SECONDS - 1)
    assert not peer.client.ended
    server.advance(2)
    assert peer.transport.reset
    assert server.service.connections == set()


# -- the client leaves


@pytest.mark.parametrize("leave", ["vanish", "half_close"])
def test_a_client_that_vanishes_is_1006_and_its_app_has_its_grace_time(leave: str) -> None:
    ends: list[object] = []

    async def app(socket: WebSocket) -> None:
        try:
            await socket.receive()
        except WebSocketClosed as closed:
            ends.append(closed.code)
        with pytest.raises(WebSocketClosed, match="1006"):
            await socket.send("late")
        with pytest.raises(OSError, match="1006"):
            await socket.send("late")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    server = Sockets(app, disconnect_grace_seconds=5)
    peer = server.open()
    getattr(peer.client, leave)()
    assert ends == [1006]
    assert len(server.service.connections) == 1, "its app still runs"
    server.advance(4.5)
    assert ends == [1006]
    server.advance(1)
    assert ends == [1006, "cancelled"]
    assert server.service.connections == set()
    assert server.flight.in_flight == {}


def test_an_app_that_closed_by_itself_may_go_on() -> None:
    async def app(socket: WebSocket) -> None:
        socket.close()
        await asyncio.Event().wait()

    server = Sockets(app, disconnect_grace_seconds=1)
    server.open().send(close(1000))
    server.advance(100)
    assert server.cancelled == []
    (socket,) = server.service.connections
    socket.cut()
    server.run()
    assert server.cancelled == ["/ws"]
    assert server.service.connections == set()


def test_a_sender_that_waits_for_a_client_that_vanishes_is_told() -> None:
    ends: list[int] = []

    async def app(socket: WebSocket) -> None:
        try:
            while True:
                await socket.send(bytes(50 * 1024))
        except WebSocketClosed as closed:
            ends.append(closed.code)

    server = Sockets(app)
    client = server.connect()
    client.transport.slow = True
    client.get("/", *HANDSHAKE)
    client.vanish()
    assert ends == [1006]


@pytest.mark.parametrize("leave", ["vanish", "half_close"])
def test_a_client_that_leaves_before_it_is_accepted(leave: str) -> None:
    seen: list[str] = []

    async def app(exchange: Exchange) -> None:
        socket = exchange.websocket()
        with pytest.raises(WebSocketClosed, match="1006"):
            await socket.receive()
        with pytest.raises(Disconnected):
            socket.accept()
        seen.append("told")

    server = Server(app)
    getattr(server.connect().get("/", *HANDSHAKE), leave)()
    assert seen == ["told"]


# -- silence


PINGING = {"websocket_ping_seconds": 10, "websocket_pong_seconds": 5}


def test_an_idle_client_is_pinged_and_stays_while_it_answers() -> None:
    server = Sockets(echo, **PINGING)
    peer = server.open()
    for count in range(1, 5):
        server.advance(10.5)
        assert peer.frames == [Frame(FINAL | PING, b"")] * count
        peer.send(frame(PONG))
    assert server.ends == []


def test_a_client_that_speaks_is_not_pinged() -> None:
    server = Sockets(echo, **PINGING)
    peer = server.open()
    for _ in range(10):
        server.advance(9)
        peer.send(text("a"))
    assert peer.texts == ["a"] * 10
    assert len(peer.frames) == 10


def test_a_client_that_does_not_answer_a_ping_is_1006_for_the_app() -> None:
    server = Sockets(echo, **PINGING)
    peer = server.open()
    server.advance(14.5)
    assert server.ends == []
    server.advance(1)
    assert server.ends == [(1006, "the client did not answer a ping")]
    assert peer.closed == (1011, "no answer to a ping")
    server.advance(CLOSE_SECONDS + 1)
    assert server.service.connections == set()


def test_a_client_that_vanishes_ends_an_app_that_only_sends() -> None:
    sent = 0

    async def app(socket: WebSocket) -> None:
        nonlocal sent
        while sent < 10 * WRITES_A_TURN:
            if sent == 5:  # as uvloop does it: this write fails, and the loop calls connection_lost later
                client.transport.vanish()
            sent += 1
            await socket.send(b"x")

    server = Sockets(app)
    client = server.connect()
    client.get("/", *HANDSHAKE)
    assert 5 < sent <= 2 * WRITES_A_TURN
    assert [code for code, _ in server.ends] == [1006]


def test_a_client_is_not_blamed_for_an_app_that_does_not_receive() -> None:
    app = Reading()
    server = Sockets(app, websocket_queue=1, **PINGING)
    server.open().send(text("a"), frame(PONG))
    server.advance(100)
    app.take(server)
    assert app.messages == ["a"]
    assert app.end is None


def test_a_client_that_reads_slowly_is_not_blamed_for_a_ping_that_it_has_not_read_yet() -> None:
    async def app(socket: WebSocket) -> None:
        await socket.send(bytes(1 << 20))
        await socket.receive()

    server = Sockets(app, **PINGING)
    client = server.connect()
    client.transport.slow = True
    client.get("/", *HANDSHAKE)
    for _ in range(12):
        server.advance(4)
        client.read(1000)
    assert server.ends == []
    server.advance(26 + CLOSE_SECONDS)  # the app waits for the client to read, until that is cut
    assert server.ends == [(1006, "the client did not answer a ping")]


def test_no_ping_at_all() -> None:
    server = Sockets(echo, websocket_ping_seconds=0)
    peer = server.open()
    server.advance(1000)
    assert peer.frames == []


# -- the worker drains


def test_a_worker_that_drains_says_1012_spread_over_the_time() -> None:
    server = Sockets(echo)
    peers = [server.open() for _ in range(4)]
    server.service.drain(lambda connection: True, 10)
    told = []
    for _ in range(10):
        told.append(sum(peer.closed == (1012, "service restart") for peer in peers))
        server.advance(1)
    assert told == [1, 1, 2, 2, 3, 3, 4, 4, 4, 4]
    assert server.ends == [(1012, "service restart")] * 4
    for peer in peers:
        peer.send(close(1012))
    assert server.service.connections == set()


def test_without_time_all_are_told_at_once() -> None:
    server = Sockets(echo)
    peers = [server.open() for _ in range(3)]
    server.service.drain(None)
    assert [peer.closed for peer in peers] == [(1012, "service restart")] * 3


def test_one_that_is_accepted_while_the_worker_drains_is_told_so() -> None:
    held: list[asyncio.Future[None]] = []

    async def app(exchange: Exchange) -> None:
        socket = exchange.websocket()
        held.append(socket.loop.create_future())
        await held[0]
        socket.accept()
        with pytest.raises(WebSocketClosed, match="1012"):
            await socket.receive()

    server = Server(app)
    client = server.connect().get("/", *HANDSHAKE)
    server.service.drain(None, 10)
    held[0].set_result(None)
    server.run()
    assert Peer(client).closed == (1012, "service restart")


def test_the_worker_waits_for_apps_that_end_their_work() -> None:
    emptied: list[bool] = []
    held: list[asyncio.Future[None]] = []

    async def app(socket: WebSocket) -> None:
        held.append(socket.loop.create_future())
        with pytest.raises(WebSocketClosed, match="1012"):
            await socket.receive()
        await held[0]

    server = Sockets(app)
    server.service.on_empty = lambda: emptied.append(True)
    peer = server.open()
    server.service.drain(None, 10)
    peer.send(close(1012))
    assert peer.client.ended
    assert emptied == []
    held[0].set_result(None)
    server.run()
    assert emptied == [True]


def test_at_the_drain_limit_what_is_left_is_cut_and_named(caplog: pytest.LogCaptureFixture) -> None:
    async def app(socket: WebSocket) -> None:
        await asyncio.Event().wait()

    server = Sockets(app)
    peer = server.open()
    server.service.drain(None, 10)
    server.service.cut()
    server.run()
    assert server.cancelled == ["/ws"]
    assert peer.transport.reset
    assert server.service.connections == set()
    assert "cut at the drain limit: WebSocket /ws" in caplog.text


def test_an_app_that_ends_and_says_nothing_is_closed_with_1011() -> None:
    async def app(exchange: Exchange) -> None:
        exchange.websocket().accept()

    assert Peer(Server(app).connect().get("/", *HANDSHAKE)).closed == (1011, "the app ended")


def test_a_close_frame_goes_out_once() -> None:
    server = Sockets(echo)
    peer = server.open()
    server.service.drain(None)
    one(server).leave()
    peer.send(close(1000))
    assert [first for first, _ in peer.frames] == [FINAL | CLOSE]
