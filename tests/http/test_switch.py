"""A connection that goes over to another protocol: nothing is lost on the way, and the service looks after it."""

import asyncio
from typing import cast

import pytest

from prefork.errors import Disconnected, ResponseError
from prefork.http.exchange import Exchange
from prefork.http.service import Service
from prefork.http.successor import Successor
from tests.http.server import PLAIN, Client, Server, request

UPGRADE = ("Connection: Upgrade", "Upgrade: echo")
ACCEPTED = ((b"upgrade", b"echo"),)


class Echo(asyncio.Protocol):
    """Sends back what it gets, in upper case."""

    index = -1
    deadline = float("inf")
    in_progress = "an echo"

    def __init__(self, service: Service) -> None:
        self.service = service
        self.asked_to_leave = 0

    def took_over(self, transport: asyncio.Transport, task: asyncio.Task[None] | None, data: bytes) -> None:
        self.transport = transport
        self.task = task
        if data:
            self.data_received(data)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data.upper())

    def connection_lost(self, exc: Exception | None) -> None:
        self.service.successor_closed(self)

    def expired(self) -> None:
        self.deadline = float("inf")
        self.transport.close()

    def leave(self) -> None:
        self.asked_to_leave += 1

    def cut(self) -> None:
        self.transport.abort()


class Switching(Server):
    """Every request that offers another protocol gets one."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.echoes: list[Echo] = []

    async def _answer(self, exchange: Exchange) -> None:
        if not exchange.upgrades:
            exchange.respond(200, PLAIN, b"plain")
            return
        echo = Echo(self.service)
        self.echoes.append(echo)
        exchange.switch(ACCEPTED, echo)

    def switched(self) -> Client:
        return self.connect().get("/", *UPGRADE)


def test_the_client_is_told_and_then_speaks_with_the_successor() -> None:
    client = Switching().switched().send(b"abc")
    head, _, rest = client.received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert b"\r\nconnection: upgrade\r\nupgrade: echo" in head
    assert rest == b"ABC"


def test_what_came_behind_the_head_is_the_successors() -> None:
    client = Switching().connect().send(request("GET", "/", *UPGRADE) + b"abc")
    assert client.received.endswith(b"\r\n\r\nABC")


@pytest.mark.parametrize(
    ("version", "fields"),
    [("1.0", UPGRADE), ("1.1", ("Upgrade: echo",)), ("1.1", ("Connection: upgrade",))],
)
def test_only_a_whole_offer_in_http_1_1_is_one(version: str, fields: tuple[str, ...]) -> None:
    client = Switching().connect().send(request("GET", "/", *fields, version=version))
    assert client.statuses() == [200]


def test_the_service_looks_after_the_successor() -> None:
    server = Switching()
    client = server.switched()
    (echo,) = server.echoes
    assert server.service.connections == {cast(Successor, echo)}
    assert server.flight.in_flight == {echo.index: b"GET /"}
    server.service.drain(None)
    assert echo.asked_to_leave == 1
    echo.deadline = server.loop.now + 1
    server.advance(2)
    assert client.ended
    assert server.service.connections == set()
    assert server.flight.open == set()


def test_the_answer_101_is_the_only_one() -> None:
    async def app(exchange: Exchange) -> None:
        exchange.switch(ACCEPTED, Echo(server.service))
        with pytest.raises(ResponseError, match="already been started"):
            exchange.respond(200, PLAIN, b"late")

    server = Server(app)
    client = server.connect().get("/", *UPGRADE).send(b"x")
    assert client.received.endswith(b"\r\n\r\nX")


def test_a_client_that_is_gone_is_not_switched() -> None:
    failures: list[Exception] = []

    async def app(exchange: Exchange) -> None:
        exchange.on_leave = left.set
        await left.wait()
        try:
            exchange.switch(ACCEPTED, Echo(server.service))
        except Disconnected as error:
            failures.append(error)

    left = asyncio.Event()
    server = Server(app)
    client = server.connect().get("/", *UPGRADE)
    client.vanish()
    assert len(failures) == 1
