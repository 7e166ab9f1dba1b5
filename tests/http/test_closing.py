"""How connections end: the client always learns what it can, and a handler never works for nobody."""

import asyncio

import pytest

from prefork.errors import Disconnected, RequestError
from prefork.http.body_reading import DRAIN_BYTES
from prefork.http.exchange import Exchange
from tests.http.server import PLAIN, Server, echo, endless, hello, read_all, request

CHUNKED = "Transfer-Encoding: chunked"


@pytest.mark.parametrize("fields", [[], ["Content-Length: 5"]])
def test_a_client_that_leaves_cancels_its_handler(fields: list[str]) -> None:
    server = Server(endless)
    client = server.connect()
    client.get("/x", *fields).vanish()
    assert server.cancelled == ["/x"]
    assert server.flight.in_flight == {}
    assert server.flight.open == set()


def test_a_client_that_leaves_within_its_body_cancels_the_handler_that_reads() -> None:
    server = Server(echo)
    client = server.connect()
    client.send(request("POST", "/x", "Content-Length: 5", body=b"hell")).vanish()
    assert server.cancelled == ["/x"]


def test_a_client_that_half_closes_within_its_body_is_gone_for_the_handler_that_reads() -> None:
    heard: list[str] = []

    async def app(exchange: Exchange) -> None:
        try:
            await read_all(exchange)
        except Disconnected as error:
            heard.append(str(error))
            raise

    client = Server(app).connect()
    client.send(request("POST", "/x", "Content-Length: 5", body=b"hell")).half_close()
    assert heard == ["the client closed the connection within the request body"]
    assert client.transport.lost


def test_a_client_that_leaves_takes_its_waiting_requests_along() -> None:
    server = Server(endless)
    client = server.connect()
    client.send(request("GET", "/1") + request("GET", "/2")).vanish()
    assert server.cancelled == ["/1"]
    assert len(server.flight.requests) == 1


def test_a_handler_that_does_not_mind_its_cancellation_writes_to_nobody() -> None:
    heard: list[type[Exception]] = []

    async def app(exchange: Exchange) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            try:
                exchange.respond(200, PLAIN)
            except Disconnected as error:
                heard.append(type(error))
            exchange.fail(RequestError(400, "late"))
            exchange.abort()

    server = Server(app)
    server.connect().get().vanish()
    assert heard == [Disconnected]


def test_an_idle_client_that_leaves_cancels_nothing() -> None:
    server = Server(hello)
    client = server.connect()
    client.get().half_close()
    assert client.transport.lost
    assert server.cancelled == []
    assert server.flight.open == set()


def test_a_refused_client_can_read_why_before_it_is_closed() -> None:
    client = Server(hello).connect()
    client.send(b"nonsense\r\n\r\n")
    assert client.statuses() == [400]
    assert (client.ended, client.transport.lost) == (True, False)
    client.send(b"x" * 1_000_000, request("GET"))  # read over: unread input would turn the close into a reset
    assert client.statuses() == [400]
    assert client.transport.unread == b""
    client.half_close()
    assert client.transport.lost
    assert not client.transport.reset


@pytest.mark.parametrize("app", [hello, echo])
def test_nothing_behind_a_request_that_asks_to_close_is_answered_and_the_answer_is_not_reset_away(app: object) -> None:
    server = Server(app)  # type: ignore[arg-type]
    client = server.connect()
    client.send(request("GET", "/", "Connection: close") + request("GET") * 40_000)
    assert client.statuses() == [200]
    assert client.ended
    assert not client.transport.reset
    assert len(server.flight.requests) == 1


@pytest.mark.parametrize("sent", [0, 5, 10])
def test_a_small_body_that_the_app_left_unread_is_read_over(sent: int) -> None:
    client = Server(hello).connect()
    body = request("GET", "/no")[:10]
    client.send(request("POST", "/", "Content-Length: 10", body=body[:sent]))
    assert client.statuses() == [200]
    if sent < len(body):
        client.send(body[sent:])
    client.send(request("GET"))
    assert client.statuses() == [200, 200]
    assert not client.ended


@pytest.mark.parametrize(("length", "connection"), [(DRAIN_BYTES, None), (DRAIN_BYTES + 1, "close")])
def test_an_unread_body_is_read_over_up_to_a_limit(length: int, connection: str | None) -> None:
    client = Server(hello).connect()
    client.send(request("POST", "/", f"Content-Length: {length}"))
    assert client.reply().fields.get("connection") == connection
    assert client.ended is (connection == "close")
    client.send(b"x" * length, request("GET"))
    assert client.statuses() == ([200] if connection else [200, 200])
    assert not client.transport.reset


def test_an_unread_chunked_body_closes_behind_the_answer() -> None:
    server = Server(hello)
    client = server.connect()
    client.send(request("POST", "/", CHUNKED))
    assert client.reply().fields["connection"] == "close"
    client.send(b"5\r\nhello\r\n0\r\n\r\n", request("GET"))
    assert len(server.flight.requests) == 1
    assert client.ended
    assert not client.transport.reset


def test_a_body_that_is_whole_but_unread_keeps_the_connection() -> None:
    client = Server(hello).connect()
    client.send(request("POST", "/", CHUNKED, body=b"5\r\nhello\r\n0\r\n\r\n") + request("GET"))
    assert client.statuses() == [200, 200]
    assert not client.ended


@pytest.mark.parametrize("rest", [b"", request("GET", "/next")])
def test_an_error_in_the_body_behind_the_beginning_of_the_answer_cuts_it(rest: bytes) -> None:
    async def app(exchange: Exchange) -> None:
        exchange.start(200, PLAIN)
        await exchange.write(await exchange.read())
        await exchange.write(await exchange.read())
        exchange.finish()

    server = Server(app)
    client = server.connect()
    client.send(request("POST", "/", CHUNKED), b"5\r\nhello\r\n", b"nonsense\r\n" + rest)
    reply = client.reply()
    assert (reply.status, reply.complete) == (200, False)
    assert client.transport.lost
    assert len(server.flight.requests) == 1


def test_an_error_in_a_body_that_the_app_does_not_read_closes_behind_the_answer() -> None:
    gate = asyncio.Event()

    async def app(exchange: Exchange) -> None:
        await gate.wait()
        exchange.respond(200, PLAIN)

    server = Server(app)
    client = server.connect()
    client.send(request("POST", "/", CHUNKED), b"nonsense\r\n" + request("GET"))
    gate.set()
    server.run()
    assert client.reply().fields["connection"] == "close"
    assert client.ended
    assert len(server.flight.requests) == 1


def test_a_route_may_allow_a_smaller_body_and_a_larger_one() -> None:
    async def app(exchange: Exchange) -> None:
        exchange.limit_body(int(exchange.target[1:]))
        while await exchange.read():
            pass
        exchange.respond(200, PLAIN)

    for limit, status in ((9, 413), (10, 200), (100, 200)):
        client = Server(app, max_body=10 if limit < 100 else 5).connect()
        client.send(request("POST", f"/{limit}", "Content-Length: 10", body=b"x" * 10))
        assert client.statuses() == [status], limit


def test_connections_in_progress_can_be_cut_at_once() -> None:
    server = Server(endless)
    busy, idle = server.connect(), server.connect()
    busy.get("/busy")
    assert busy.connection.in_progress == "GET /busy"
    assert idle.connection.in_progress is None
    busy.connection.cut()
    idle.connection.cut()
    server.run()
    assert busy.transport.lost
    assert idle.transport.lost
    assert server.cancelled == ["/busy"]
