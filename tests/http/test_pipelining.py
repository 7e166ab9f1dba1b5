"""Requests that come before the last one is answered: in order, one at a time, within bounds, written together."""

import asyncio
from contextvars import ContextVar

from prefork.http.connection import PIPELINED_REQUESTS, READ_AHEAD_BYTES
from prefork.http.exchange import Exchange
from prefork.http.outgoing import HELD_BYTES
from tests.http.server import PLAIN, Client, Server, echo, request
from tests.http.transport import HIGH_WATER, READ_BYTES


class Gate:
    """An app that waits on `/slow...` until it is opened, and answers everything else at once."""

    def __init__(self) -> None:
        self.server = Server(self._app)
        self.opened: asyncio.Future[None] = self.server.loop.create_future()
        self.client: Client = self.server.connect()

    async def _app(self, exchange: Exchange) -> None:
        if exchange.target.startswith(b"/slow"):
            await self.opened
        exchange.respond(200, PLAIN, exchange.target)

    def open(self) -> None:
        self.opened.set_result(None)
        self.server.run()

    def answered(self) -> list[bytes]:
        return [reply.body for reply in self.client.replies()]


def gets(*targets: str) -> bytes:
    return b"".join(request("GET", target) for target in targets)


def test_answers_keep_the_order_of_the_requests() -> None:
    gate = Gate()
    targets = ["/slow", *(f"/{number}" for number in range(200))]
    gate.client.send(gets(*targets))
    assert gate.answered() == []
    gate.open()
    assert gate.answered() == [target.encode() for target in targets]


def test_one_request_is_handled_at_a_time() -> None:
    gate = Gate()
    gate.client.send(gets("/slow/1", "/slow/2", "/3"))
    assert list(gate.server.flight.in_flight.values()) == [b"GET /slow/1"]
    gate.open()
    assert len(gate.server.flight.requests) == 3


def test_what_a_request_sets_in_its_context_is_not_for_the_one_behind_it() -> None:
    seen: list[str] = []

    async def app(exchange: Exchange) -> None:
        seen.append(user.get())
        user.set("alice")
        exchange.respond(200, PLAIN)

    user = ContextVar("user", default="nobody")
    Server(app).connect().send(gets("/1", "/2", "/3"))
    assert seen == ["nobody", "nobody", "nobody"]


def test_answers_that_are_ready_do_not_wait_for_a_slow_one_behind_them() -> None:
    gate = Gate()
    gate.client.send(gets("/1", "/2", "/slow"))
    assert gate.answered() == [b"/1", b"/2"]


def test_reading_goes_on_with_as_many_waiting_as_promised_and_stops_at_one_more() -> None:
    gate = Gate()
    gate.client.send(gets("/slow"), gets("/x") * PIPELINED_REQUESTS)
    gate.client.send(gets("/one-more"))
    assert gate.client.transport.unread == b""
    gate.client.send(gets("/last"))
    assert gate.client.transport.unread == gets("/last")
    gate.open()
    assert gate.client.transport.unread == b""
    assert gate.answered()[-1] == b"/last"


def test_reading_stops_when_large_requests_wait() -> None:
    gate = Gate()
    large = request("POST", "/x", f"Content-Length: {READ_AHEAD_BYTES // 2}", body=b"x" * (READ_AHEAD_BYTES // 2))
    gate.client.send(gets("/slow"), large[: READ_AHEAD_BYTES // 2], large[READ_AHEAD_BYTES // 2 :])
    gate.client.send(large)
    assert gate.client.transport.unread == b""
    gate.client.send(large)
    assert gate.client.transport.unread == large


def test_what_waits_stays_bounded_while_a_flood_is_answered() -> None:
    waiting: list[int] = []
    flood = gets("/x") * 20_000

    async def app(exchange: Exchange) -> None:
        for _ in range(3):  # let the loop read, if it may
            await asyncio.sleep(0)
        exchange.respond(200, PLAIN)
        waiting.append(len(flood) - len(client.transport.unread) - len(waiting) * len(gets("/x")))

    server = Server(app)
    client = server.connect()
    client.send(flood)
    assert len(waiting) == 20_000
    assert max(waiting) <= READ_AHEAD_BYTES + READ_BYTES


def test_a_batch_of_answers_goes_out_in_one_write() -> None:
    server = Server(echo)
    client = server.connect()
    client.send(gets(*(f"/{number}" for number in range(PIPELINED_REQUESTS))))
    assert len(client.replies()) == PIPELINED_REQUESTS
    assert len(client.transport.writes) == 1


def test_a_batch_with_bodies_goes_out_in_one_write() -> None:
    server = Server(echo)
    client = server.connect()
    client.send(request("POST", "/", "Content-Length: 2", body=b"hi") * 4)
    assert client.statuses() == [200] * 4
    assert len(client.transport.writes) == 1


def test_what_is_held_for_a_batch_is_bounded() -> None:
    async def app(exchange: Exchange) -> None:
        exchange.respond(200, PLAIN, b"x" * 10_000)

    client = Server(app).connect()
    client.send(gets("/") * 30)
    assert client.statuses() == [200] * 30
    assert max(len(write) for write in client.transport.writes) < HELD_BYTES + 11_000
    assert len(client.transport.writes) < 10


def test_a_streamed_answer_in_a_batch_keeps_its_place() -> None:
    async def app(exchange: Exchange) -> None:
        if exchange.target == b"/stream":
            exchange.start(200, PLAIN)
            await exchange.write(b"one ")
            await asyncio.sleep(0)
            await exchange.write(b"two")
            exchange.finish()
        else:
            exchange.respond(200, PLAIN, exchange.target)

    client = Server(app).connect()
    client.send(gets("/1", "/stream", "/2"))
    assert [reply.body for reply in client.replies()] == [b"/1", b"one two", b"/2"]


def test_a_client_that_does_not_read_its_answers_gets_no_more_of_them_made() -> None:
    handled = []

    async def app(exchange: Exchange) -> None:
        handled.append(exchange.target)
        exchange.respond(200, PLAIN, b"x" * (HIGH_WATER + 1))

    client = Server(app).connect()
    client.transport.slow = True
    client.send(gets("/1", "/2", "/3"))
    assert handled == [b"/1"]
    client.send(gets("/4"))
    assert client.transport.unread
    for _ in range(4):
        client.read(2 * HIGH_WATER)
    assert handled == [b"/1", b"/2", b"/3", b"/4"]
    assert client.statuses() == [200] * 4


def test_a_request_that_came_with_a_cut_neighbour_is_answered_before_the_neighbour_is_whole() -> None:
    client = Server(echo).connect()
    client.send(gets("/1", "/2")[:-4])
    assert [reply.body for reply in client.replies()] == [b"GET /1 "]
