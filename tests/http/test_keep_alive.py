"""When a connection is kept for the next request, and what the answer says of it."""

import pytest

from prefork.http.exchange import Exchange
from tests.http.server import PLAIN, Server, echo, hello, request


def test_http11_keeps_the_connection_without_saying_so() -> None:
    client = Server(hello).connect()
    for _ in range(3):
        client.get()
    assert [reply.fields.get("connection") for reply in client.replies()] == [None] * 3
    assert not client.ended


def test_http10_is_told_that_its_connection_is_kept() -> None:
    client = Server(hello).connect()
    client.send(request("GET", "/", "Connection: Keep-Alive", version="1.0"))
    assert client.reply().fields["connection"] == "keep-alive"
    assert not client.ended


@pytest.mark.parametrize(("version", "fields"), [("1.1", ["Connection: close"]), ("1.0", [])])
def test_the_last_answer_says_that_it_is_the_last(version: str, fields: list[str]) -> None:
    client = Server(hello).connect()
    client.send(request("GET", "/", *fields, version=version))
    assert client.reply().fields["connection"] == "close"
    assert client.ended
    assert client.transport.lost


@pytest.mark.parametrize("streamed", [False, True])
def test_an_app_may_ask_to_close(streamed: bool) -> None:
    async def app(exchange: Exchange) -> None:
        if streamed:
            exchange.start(200, [(b"Connection", b"close")], 0)
            exchange.finish()
        else:
            exchange.respond(200, [(b"Connection", b"close")])

    client = Server(app).connect()
    client.get()
    assert client.reply().fields["connection"] == "close"
    assert client.ended


def test_an_app_cannot_keep_what_the_client_closes() -> None:
    async def app(exchange: Exchange) -> None:
        exchange.respond(200, [(b"connection", b"keep-alive")])

    client = Server(app).connect()
    client.get("/", "Connection: close")
    assert client.reply().fields["connection"] == "close"
    assert client.ended


def test_an_empty_line_behind_every_body_is_forgiven_for_ever() -> None:
    client = Server(echo).connect()
    for _ in range(50):
        client.send(request("POST", "/", "Content-Length: 2", body=b"hi"), b"\r\n")
    assert client.statuses() == [200] * 50


def test_one_clients_requests_leave_nothing_behind_for_another() -> None:
    server = Server(hello)
    for strange in ("Proxy-Connection: close", "Upgrade: x", "Connection: close", "Content-Length: 0", "X:"):
        server.connect().get("/", strange)
        client = server.connect()
        client.get()
        assert client.statuses() == [200], strange


def test_what_an_earlier_request_said_is_forgotten() -> None:
    client = Server(echo).connect()
    client.send(request("POST", "/", "Content-Length: 2", "Expect: 100-continue", body=b"hi"))
    client.send(request("GET", "/", "Connection: keep-alive", version="1.0"))
    client.get()
    assert [reply.fields.get("connection") for reply in client.replies()] == [None, "keep-alive", None]


def test_a_constant_head_is_the_same_bytes_for_every_request() -> None:
    async def app(exchange: Exchange) -> None:
        exchange.respond(200, PLAIN, b"a")

    client = Server(app).connect()
    client.get().get()
    first, second = client.transport.writes
    assert first == second


def test_heads_that_differ_only_in_status_or_fields_are_not_mixed_up() -> None:
    answers = [(200, PLAIN), (404, PLAIN), (200, ((b"content-type", b"text/html"),)), (200, ())]

    async def app(exchange: Exchange) -> None:
        status, fields = answers[int(exchange.target[1:])]
        exchange.respond(status, fields)

    client = Server(app).connect()
    for number in [0, 1, 2, 3] * 2:
        client.get(f"/{number}")
    found = [(reply.status, reply.fields.get("content-type")) for reply in client.replies()]
    assert found == [(200, "text/plain"), (404, "text/plain"), (200, "text/html"), (200, None)] * 2
