"""`Expect: 100-continue` (RFC 9110, 10.1.1): one 100, when the app first waits for the body, and not without need."""

import asyncio

import pytest

from prefork.http.exchange import Exchange
from tests.http.server import PLAIN, Server, echo, hello, read_all, request


def head(*fields: str, version: str = "1.1") -> bytes:
    return request("POST", "/", "Expect: 100-continue", *(fields or ["Content-Length: 5"]), version=version)


def test_the_client_is_told_to_go_on_when_the_app_reads() -> None:
    client = Server(echo).connect()
    client.send(head())
    assert client.received == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"hello")
    assert client.statuses() == [100, 200]
    assert not client.ended


def test_it_is_not_told_before_the_app_reads() -> None:
    gate = asyncio.Event()

    async def app(exchange: Exchange) -> None:
        await gate.wait()
        await echo(exchange)

    server = Server(app)
    client = server.connect()
    client.send(head())
    assert client.received == b""
    gate.set()
    server.run()
    assert client.statuses() == [100]


def test_it_is_told_once_however_often_the_app_reads() -> None:
    client = Server(echo).connect()
    client.send(head(), *(bytes([byte]) for byte in b"hello"))
    assert client.statuses() == [100, 200]


def test_it_is_told_for_chunks_too() -> None:
    client = Server(echo).connect()
    client.send(head("Transfer-Encoding: chunked"), b"5\r\nhello\r\n", b"0\r\n\r\n")
    assert client.statuses() == [100, 200]


def test_it_is_not_told_when_the_body_is_here_already() -> None:
    client = Server(echo).connect()
    client.send(head() + b"hello")
    assert client.statuses() == [200]
    assert not client.ended


def test_it_is_not_told_when_there_is_no_body() -> None:
    client = Server(echo).connect()
    client.send(head("Content-Length: 0"))
    assert client.statuses() == [200]
    assert not client.ended


def test_http10_is_never_told() -> None:
    client = Server(echo).connect()
    client.send(head(version="1.0"))
    assert client.received == b""
    client.send(b"hello")
    assert client.statuses() == [200]


@pytest.mark.parametrize("streamed", [False, True])
def test_a_final_answer_instead_closes_because_the_body_may_come_or_not(streamed: bool) -> None:
    async def app(exchange: Exchange) -> None:
        if streamed:
            exchange.start(403, PLAIN, 0)
            exchange.finish()
        else:
            exchange.respond(403, PLAIN)

    server = Server(app)
    client = server.connect()
    client.send(head())
    assert client.statuses() == [403]
    assert client.ended
    client.send(b"hello", request("GET", "/next"))
    assert len(server.flight.requests) == 1


def test_a_final_answer_says_that_it_closes() -> None:
    client = Server(hello).connect()
    client.send(head())
    assert client.reply().fields["connection"] == "close"


def test_a_body_that_is_declared_too_large_is_refused_without_asking_for_it() -> None:
    client = Server(echo, max_body=4).connect()
    client.send(head())
    assert client.statuses() == [413]
    assert client.ended


def test_nothing_is_told_within_an_answer_that_has_begun() -> None:
    async def app(exchange: Exchange) -> None:
        exchange.start(200, PLAIN)
        await exchange.write(await read_all(exchange))
        exchange.finish()

    client = Server(app).connect()
    client.send(head(), b"hello")
    assert client.reply().body == b"hello"
    assert client.received.startswith(b"HTTP/1.1 200 ")
