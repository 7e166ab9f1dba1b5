"""An app that wants to be told when its client leaves is told, and has its grace time."""

import asyncio

from prefork.errors import Disconnected
from prefork.http.exchange import Exchange
from tests.http.server import PLAIN, Server, endless


class Told:
    """An app that waits for its client to leave, then for ever."""

    def __init__(self) -> None:
        self.times = 0
        self.server = Server(self._app, disconnect_grace_seconds=3.0)

    async def _app(self, exchange: Exchange) -> None:
        exchange.on_leave = self._note
        await endless(exchange)

    def _note(self) -> None:
        self.times += 1


def test_a_reset_tells_the_app_and_cancels_it_when_the_grace_time_is_over() -> None:
    told = Told()
    told.server.connect().get("/a").vanish()
    assert told.times == 1
    told.server.advance(2.5)
    assert told.server.cancelled == []
    told.server.advance(1)
    assert told.server.cancelled == ["/a"]


def test_the_grace_time_of_a_half_close_is_not_begun_anew_by_the_reset() -> None:
    told = Told()
    client = told.server.connect().get("/a")
    client.half_close()
    assert told.times == 1
    told.server.advance(2.5)
    client.vanish()
    assert told.server.cancelled == []
    told.server.advance(1)
    assert told.server.cancelled == ["/a"]


def test_an_app_that_does_not_ask_is_cancelled_by_a_reset_at_once() -> None:
    server = Server(endless)
    server.connect().get("/a").vanish()
    assert server.cancelled == ["/a"]


def test_what_an_app_writes_after_a_reset_is_refused_to_it() -> None:
    refused: list[Exception] = []

    async def app(exchange: Exchange) -> None:
        exchange.on_leave = left.set
        await left.wait()
        assert exchange.client_left
        try:
            exchange.respond(200, PLAIN, b"late")
        except Disconnected as error:
            refused.append(error)

    left = asyncio.Event()
    server = Server(app)
    server.connect().get().vanish()
    assert [type(error) for error in refused] == [Disconnected]
    assert isinstance(refused[0], OSError)


def test_a_client_that_half_closed_still_gets_its_answer() -> None:
    async def app(exchange: Exchange) -> None:
        exchange.on_leave = left.set
        await left.wait()
        exchange.respond(200, PLAIN, b"in time")

    left = asyncio.Event()
    client = Server(app).connect().get()
    client.half_close()
    assert client.reply().body == b"in time"
