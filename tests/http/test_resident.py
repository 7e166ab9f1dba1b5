"""Connections that cannot be given to another worker: their clients are told when they have to go."""

import asyncio
from typing import Any

from prefork.http.connection import FIRST_REQUEST_SECONDS, Connection
from prefork.http.exchange import Exchange
from prefork.http.resident import ResidentConnection
from tests.http.server import PLAIN, Client, Server
from tests.http.transport import FakeTransport


class Site:
    """A server whose app waits on `/slow`, and a master that would take every connection back."""

    def __init__(self) -> None:
        self.handed: list[Connection] = []
        self.gate = asyncio.Event()
        self.server = Server(self._app)

    async def _app(self, exchange: Exchange) -> None:
        if exchange.target.startswith(b"/begun"):
            exchange.start(200, PLAIN, 2)
            await exchange.write(b"o")
        if exchange.target != b"/":
            await self.gate.wait()
        if exchange.started:
            await exchange.write(b"k")
            exchange.finish()
        else:
            exchange.respond(200, PLAIN, b"ok")

    def connect(self) -> Client:
        server = self.server
        connection = ResidentConnection(server.service, 0)
        extra: dict[str, Any] = {"peername": ("192.0.2.7", 5), "sockname": ("192.0.2.1", 80)}
        client = Client(server, connection, FakeTransport(server.loop.as_loop, connection, extra))
        server.run()
        return client

    def drain(self) -> None:
        self.server.service.drain(self._hand_back)
        self.server.run()

    def _hand_back(self, connection: Connection) -> bool:
        self.handed.append(connection)
        return True

    def open_gate(self) -> None:
        self.gate.set()
        self.server.run()


def test_an_idle_one_is_closed_and_never_handed_back() -> None:
    site = Site()
    client = site.connect().get("/")
    site.drain()
    site.server.advance(FIRST_REQUEST_SECONDS - 0.1)
    assert site.handed == []
    assert not client.ended
    site.server.advance(1)
    assert client.ended


def test_a_request_that_was_on_its_way_is_answered() -> None:
    site = Site()
    client = site.connect().get("/")
    site.drain()
    client.get("/")
    assert client.statuses() == [200, 200]
    assert client.replies()[1].fields["connection"] == "close"
    assert client.ended


def test_an_idle_one_is_closed_at_once_when_the_server_stops() -> None:
    site = Site()
    client = site.connect().get("/")
    site.server.service.drain(None)
    site.server.run()
    assert client.ended


def test_the_answer_in_progress_says_that_it_is_the_last() -> None:
    site = Site()
    client = site.connect().get("/slow")
    site.drain()
    site.open_gate()
    assert client.reply().fields["connection"] == "close"
    assert client.ended


def test_an_answer_that_has_begun_is_finished_before_the_close() -> None:
    site = Site()
    client = site.connect().get("/begun")
    site.drain()
    assert not client.ended
    site.open_gate()
    assert client.reply().body == b"ok"
    assert client.reply().complete
    site.server.advance(FIRST_REQUEST_SECONDS + 0.5)  # its head did not say that it is the last
    assert client.ended


def test_a_new_one_may_ask_once() -> None:
    site = Site()
    client = site.connect()
    site.drain()
    client.get("/")
    assert client.reply().fields["connection"] == "close"
    assert client.ended


def test_one_that_comes_while_the_worker_drains_may_ask_once() -> None:
    site = Site()
    slow = site.connect().get("/slow")
    site.drain()
    client = site.connect()
    client.get("/")
    assert client.reply().fields["connection"] == "close"
    silent = site.connect()
    site.server.advance(FIRST_REQUEST_SECONDS + 1)
    assert silent.ended
    assert not slow.ended
    assert site.handed == []


def test_without_a_drain_it_is_like_any_other() -> None:
    client = Site().connect().get("/").get("/")
    assert client.statuses() == [200, 200]
    assert not client.ended
    assert all("connection" not in reply.fields for reply in client.replies())
