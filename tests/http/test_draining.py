"""Taking leave of connections: idle ones are handed back or closed, the others first finish what they do."""

import asyncio

from prefork.http.connection import FIRST_REQUEST_SECONDS, Connection
from prefork.http.exchange import Exchange
from tests.http.server import PLAIN, Client, Server, echo, hello, request
from tests.http.transport import HIGH_WATER


class Drain:
    """A server whose app waits on `/slow`, and the master that takes connections back."""

    def __init__(self) -> None:
        self.handed: list[Connection] = []
        self.accepting = True
        self.emptied = 0
        self.gate = asyncio.Event()
        self.server = Server(self._app)
        self.server.service.on_empty = self._on_empty

    async def _app(self, exchange: Exchange) -> None:
        if exchange.target == b"/slow":
            await self.gate.wait()
        if exchange.target == b"/large":
            exchange.respond(200, PLAIN, b"x" * 2 * HIGH_WATER)
            return
        await echo(exchange)

    def _on_empty(self) -> None:
        self.emptied += 1

    def _hand_back(self, connection: Connection) -> bool:
        if self.accepting:
            self.handed.append(connection)
        return self.accepting

    def begin(self, to_another: bool = True) -> None:
        self.server.service.drain(self._hand_back if to_another else None)
        self.server.run()

    def open_gate(self) -> None:
        self.gate.set()
        self.server.run()

    def handed_back(self, client: Client) -> bool:
        return client.connection in self.handed


def test_idle_connections_are_handed_back_new_and_used_ones_alike() -> None:
    drain = Drain()
    fresh, used = drain.server.connect(), drain.server.connect()
    used.get()
    drain.begin()
    assert drain.handed_back(fresh)
    assert drain.handed_back(used)
    assert drain.emptied == 1


def test_what_a_handed_back_client_sends_stays_in_the_kernel() -> None:
    drain = Drain()
    client = drain.server.connect()
    client.get()
    drain.begin()
    client.send(request("GET", "/next"))
    assert client.transport.unread == request("GET", "/next")
    assert client.statuses() == [200]


def test_a_connection_in_an_exchange_is_handed_back_behind_its_answer() -> None:
    drain = Drain()
    client = drain.server.connect().get("/slow")
    drain.begin()
    assert drain.handed == []
    assert drain.emptied == 0
    drain.open_gate()
    assert client.reply().fields.get("connection") is None
    assert drain.handed_back(client)


def test_pipelined_requests_that_have_come_are_answered_first() -> None:
    drain = Drain()
    client = drain.server.connect()
    client.send(request("GET", "/slow") + request("GET", "/2") + request("GET", "/3"))
    drain.begin()
    drain.open_gate()
    assert client.statuses() == [200] * 3
    assert drain.handed_back(client)


def test_a_connection_with_half_a_head_is_kept_until_it_is_answered() -> None:
    drain = Drain()
    client = drain.server.connect().send(request("GET")[:-1])
    drain.begin()
    drain.server.advance(1)
    assert drain.handed == []
    client.send(b"\n")
    assert client.statuses() == [200]
    assert drain.handed_back(client)


def test_a_connection_whose_answer_is_not_read_yet_is_kept_until_it_is() -> None:
    drain = Drain()
    client = drain.server.connect()
    client.transport.slow = True
    client.get("/large")
    drain.begin()
    assert drain.handed == []
    client.read(4 * HIGH_WATER)
    drain.server.advance(1)
    assert drain.handed_back(client)


def test_a_connection_that_reads_over_a_body_is_kept_until_it_has() -> None:
    server = Server(hello)
    handed: list[Connection] = []

    def hand_back(connection: Connection) -> bool:
        handed.append(connection)
        return True

    client = server.connect().send(request("POST", "/", "Content-Length: 5", body=b"hell"))
    server.service.drain(hand_back)
    server.advance(1)
    assert handed == []
    client.send(b"o")
    assert handed == [client.connection]


def test_a_connection_that_could_not_be_handed_back_goes_on_and_is_offered_again() -> None:
    drain = Drain()
    client = drain.server.connect()
    drain.accepting = False
    drain.begin()
    client.get()
    assert client.statuses() == [200]
    drain.accepting = True
    drain.server.advance(1)
    assert drain.handed_back(client)


def test_a_connection_that_arrives_while_draining_is_handed_back_too() -> None:
    drain = Drain()
    drain.begin()
    assert drain.handed_back(drain.server.connect())


def test_a_half_closed_connection_is_answered_and_closed_here() -> None:
    drain = Drain()
    client = drain.server.connect().get("/slow")
    client.half_close()
    drain.begin()
    drain.open_gate()
    assert client.statuses() == [200]
    assert drain.handed == []
    assert client.transport.lost


def test_without_another_worker_idle_connections_close() -> None:
    drain = Drain()
    client = drain.server.connect().get()
    drain.begin(to_another=False)
    assert client.ended
    assert not client.transport.reset
    assert drain.emptied == 1


def test_without_another_worker_each_answer_is_its_connections_last_and_says_so() -> None:
    drain = Drain()
    client = drain.server.connect().get("/slow")
    drain.begin(to_another=False)
    drain.open_gate()
    assert client.reply().fields["connection"] == "close"
    assert client.ended


def test_without_another_worker_a_new_connection_has_a_moment_for_its_request() -> None:
    drain = Drain()
    quick, silent = drain.server.connect(), drain.server.connect()
    drain.begin(to_another=False)
    drain.server.advance(FIRST_REQUEST_SECONDS / 2)
    quick.get()
    assert quick.reply().fields["connection"] == "close"
    assert (silent.ended, drain.emptied) == (False, 0)
    drain.server.advance(FIRST_REQUEST_SECONDS)
    assert (silent.ended, drain.emptied) == (True, 1)
    assert silent.received == b""


def test_a_server_without_connections_is_empty_at_once() -> None:
    drain = Drain()
    drain.begin()
    assert drain.emptied == 1


def test_at_the_limit_everything_is_cut() -> None:
    drain = Drain()
    busy = drain.server.connect().get("/slow")
    drain.begin()
    drain.server.service.cut()
    drain.server.run()
    assert busy.transport.lost
    assert drain.server.cancelled == ["/slow"]
    assert drain.emptied == 1
