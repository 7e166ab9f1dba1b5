"""What may take how long, on a clock that is told: just below each limit nothing happens, just above it does."""

import asyncio

import pytest

from prefork.http.closing import LINGER_SECONDS
from prefork.http.exchange import Exchange
from tests.http.server import PLAIN, Client, Server, echo, hello, read_all, request

TICK = 0.5  # seconds: a limit is checked with every sweep, and the clock of a connection is the last sweep's
LIMITS = {"keep_alive_seconds": 75.0, "header_seconds": 10.0, "body_seconds": 30.0, "disconnect_grace_seconds": 3.0}
POST = request("POST", "/", "Content-Length: 5")


def connect(app: object = echo) -> tuple[Server, Client]:
    server = Server(app, **LIMITS)  # type: ignore[arg-type]
    return server, server.connect()


def just_below_and_just_above(server: Server, client: Client, seconds: float) -> tuple[bytes, bool, bytes, bool]:
    """What the client has got, and whether it sees the end, shortly before and shortly after `seconds` from now."""
    got = len(client.received)
    server.advance(seconds - TICK)
    below, below_ended = client.received[got:], client.ended
    server.advance(2 * TICK)
    return below, below_ended, client.received[got:], client.ended


def test_a_new_connection_may_be_idle_as_long_as_a_used_one_and_closes_quietly() -> None:
    assert just_below_and_just_above(*connect(), 75) == (b"", False, b"", True)


def test_an_idle_connection_closes_quietly_after_the_keep_alive_time() -> None:
    server, client = connect()
    server.advance(60)
    client.get()
    assert just_below_and_just_above(server, client, 75) == (b"", False, b"", True)
    assert not client.transport.reset


@pytest.mark.parametrize("first", [b"G", request("GET")[:-1], b"\r", b"\r\nG"])
def test_a_head_that_is_slow_gets_408(first: bytes) -> None:
    server, client = connect()
    client.send(first)
    below, below_ended, above, ended = just_below_and_just_above(server, client, 10)
    assert (below, below_ended, ended) == (b"", False, True)
    assert above.startswith(b"HTTP/1.1 408 ")
    assert client.reply().fields["connection"] == "close"


def test_a_head_that_dribbles_gets_no_more_time() -> None:
    server, client = connect()
    for byte in request("GET", "/" + "x" * 100)[:40]:
        client.send(bytes([byte]))
        server.advance(0.25)
    server.advance(TICK)
    assert client.statuses() == [408]


def test_the_heads_time_begins_with_its_first_byte() -> None:
    server, client = connect()
    client.get()
    server.advance(60)
    client.send(b"G")
    server.advance(10 - TICK)
    client.send(b"ET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert client.statuses() == [200, 200]
    assert just_below_and_just_above(server, client, 75) == (b"", False, b"", True)


def test_a_cut_head_behind_a_pipelined_request_has_its_time_too() -> None:
    server, client = connect()
    client.send(request("GET") + b"GET")
    assert client.statuses() == [200]
    server.advance(10 + TICK)
    assert client.statuses() == [200, 408]


@pytest.mark.parametrize("pieces", [[b"\r\n"], [b"\r", b"\n"], [b"\r\n\r\n"]])
def test_an_empty_line_is_no_head_and_closes_quietly(pieces: list[bytes]) -> None:
    server, client = connect()
    client.send(*pieces)
    assert just_below_and_just_above(server, client, 75) == (b"", False, b"", True)


@pytest.mark.parametrize("pieces", [[POST + b"hello\r\n"], [POST, b"hello\r\n"], [POST + b"hello\r", b"\n"]])
def test_an_empty_line_behind_a_request_leaves_the_connection_idle(pieces: list[bytes]) -> None:
    server, client = connect()
    client.send(*pieces)
    assert client.statuses() == [200]
    assert just_below_and_just_above(server, client, 75) == (b"", False, b"", True)


@pytest.mark.parametrize("came", [b"", b"hell"])
@pytest.mark.parametrize("fields", ["Content-Length: 5", "Transfer-Encoding: chunked"])
def test_a_body_that_stalls_gets_408(came: bytes, fields: str) -> None:
    server, client = connect()
    body = came if "Length" in fields else b"4\r\nhell" if came else b""
    client.send(request("POST", "/", fields), *([body] if body else []))
    below, below_ended, above, ended = just_below_and_just_above(server, client, 30)
    assert (below, below_ended, ended) == (b"", False, True)
    assert above.startswith(b"HTTP/1.1 408 ")


def test_each_piece_of_a_body_gives_it_time_again() -> None:
    server, client = connect()
    client.send(POST)
    for byte in b"hello":
        server.advance(30 - TICK)
        client.send(bytes([byte]))
    assert client.statuses() == [200]


def test_an_app_that_takes_its_time_is_not_the_clients_fault() -> None:
    async def app(exchange: Exchange) -> None:
        await asyncio.sleep(100)
        await read_all(exchange)
        await asyncio.sleep(100)
        exchange.respond(200, PLAIN)

    server, client = connect(app)
    client.send(POST)
    server.advance(100)
    client.send(b"hello")
    server.advance(99)
    assert client.statuses() == []
    server.advance(1 + TICK)
    assert client.statuses() == [200]


def test_a_body_that_the_app_did_not_read_has_its_time_to_come() -> None:
    server, client = connect(hello)
    client.send(POST + b"hell")
    assert client.statuses() == [200]
    assert just_below_and_just_above(server, client, 30) == (b"", False, b"", True)


async def slow(exchange: Exchange) -> None:
    await asyncio.sleep(int(exchange.target[1:]))
    exchange.respond(200, PLAIN)


def test_a_half_closed_client_gets_an_answer_that_is_ready_within_the_grace_time() -> None:
    server, client = connect(slow)
    client.get("/2").half_close()
    server.advance(2 + TICK)
    assert client.statuses() == [200]
    assert client.transport.lost
    assert server.cancelled == []


def test_a_half_closed_client_that_would_wait_longer_is_taken_for_gone() -> None:
    server, client = connect(slow)
    client.get("/60").half_close()
    server.advance(3 - TICK)
    assert server.cancelled == []
    server.advance(2 * TICK)
    assert server.cancelled == ["/60"]
    assert client.transport.lost


def test_each_request_of_a_half_closed_client_has_the_grace_time() -> None:
    server, client = connect(slow)
    client.send(request("GET", "/2") * 3).half_close()
    server.advance(7)
    assert client.statuses() == [200] * 3
    assert client.transport.lost


def test_a_client_that_is_open_may_wait_for_its_answer_for_ever() -> None:
    server, client = connect(slow)
    client.get("/1000")
    server.advance(999)
    assert not client.ended
    server.advance(1 + TICK)
    assert client.statuses() == [200]


def test_a_refused_client_has_time_to_read_why() -> None:
    server, client = connect()
    client.send(b"nonsense\r\n\r\n")
    assert client.statuses() == [400]
    server.advance(LINGER_SECONDS - TICK)
    assert not client.transport.lost
    server.advance(2 * TICK)
    assert client.transport.lost


def test_after_a_blocked_loop_input_that_came_in_time_is_read_first() -> None:
    server, client = connect()
    client.send(b"G")
    server.loop.now += 60  # nobody was asked anything in between
    server.service.sweep()
    client.send(b"ET / HTTP/1.1\r\nHost: a\r\n\r\n")
    server.advance(TICK)
    assert client.statuses() == [200]
