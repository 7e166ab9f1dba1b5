"""Interim responses before the answer, trailers behind it."""

import pytest

from prefork.errors import ResponseError
from prefork.http.exchange import Exchange
from tests.http.server import PLAIN, Server, request

LINK = ((b"link", b"</a.css>; rel=preload"),)


async def hinting(exchange: Exchange) -> None:
    exchange.inform(103, LINK)
    exchange.respond(200, PLAIN, b"hello")


def test_an_interim_response_comes_before_the_answer() -> None:
    client = Server(hinting).connect().get()
    interim, _, rest = client.received.partition(b"\r\n\r\n")
    assert interim == b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload"
    assert rest.startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_client_of_http_1_0_gets_no_interim_response() -> None:
    client = Server(hinting).connect().send(request("GET", "/", version="1.0"))
    assert client.received.startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("status", [100, 101, 200, 99])
def test_an_interim_status_is_one_that_an_app_may_send(status: int) -> None:
    async def app(exchange: Exchange) -> None:
        with pytest.raises(ResponseError, match="not an interim response status"):
            exchange.inform(status, LINK)
        exchange.respond(200, PLAIN, b"hello")

    assert Server(app).connect().get().statuses() == [200]


def test_nothing_interim_comes_once_the_answer_has_begun() -> None:
    async def app(exchange: Exchange) -> None:
        exchange.start(200, PLAIN)
        with pytest.raises(ResponseError, match="already been started"):
            exchange.inform(103, LINK)
        exchange.finish()

    assert Server(app).connect().get().statuses() == [200]


def test_trailers_follow_a_body_in_chunks() -> None:
    async def app(exchange: Exchange) -> None:
        exchange.start(200, PLAIN)
        await exchange.write(b"hello")
        exchange.finish([(b"digest", b"abc")])

    client = Server(app).connect().get()
    assert client.received.endswith(b"\r\n5\r\nhello\r\n0\r\ndigest: abc\r\n\r\n")


def test_a_body_with_a_length_has_no_place_for_trailers() -> None:
    async def app(exchange: Exchange) -> None:
        exchange.start(200, PLAIN, 5)
        await exchange.write(b"hello")
        exchange.finish([(b"digest", b"abc")])

    assert Server(app).connect().get().received.endswith(b"\r\n\r\nhello")


def test_a_trailer_cannot_break_the_message_open() -> None:
    async def app(exchange: Exchange) -> None:
        exchange.start(200, PLAIN)
        with pytest.raises(ResponseError, match="CR, LF or NUL"):
            exchange.finish([(b"digest", b"a\r\nb: c")])
        exchange.finish()

    assert Server(app).connect().get().received.endswith(b"0\r\n\r\n")
