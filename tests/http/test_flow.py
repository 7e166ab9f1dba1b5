"""Flow control both ways: a slow reader pauses the producer, an app that does not read pauses the socket."""

import asyncio

import pytest

from prefork.http.connection import READ_AHEAD_BYTES
from prefork.http.exchange import Exchange
from prefork.http.incoming import BUFFERED_BYTES
from prefork.http.outgoing import WRITES_A_TURN
from tests.http.server import PLAIN, Server, hello, read_all, request
from tests.http.transport import HIGH_WATER, READ_BYTES

PIECE = b"x" * 10_000
PIECES = 100


@pytest.mark.parametrize("length", [None, PIECES * len(PIECE)])
def test_a_slow_reader_pauses_the_producer_and_gets_every_byte(length: int | None) -> None:
    produced = 0

    async def app(exchange: Exchange) -> None:
        nonlocal produced
        exchange.start(200, PLAIN, length)
        for _ in range(PIECES):
            produced += len(PIECE)
            await exchange.write(PIECE)
        exchange.finish()

    client = Server(app).connect()
    client.transport.slow = True
    client.get()
    assert HIGH_WATER < produced <= HIGH_WATER + len(PIECE)
    seen = 0
    while seen < PIECES * len(PIECE):
        client.read(4096)
        seen += 4096
        assert produced <= seen + HIGH_WATER + len(PIECE)
    client.read(HIGH_WATER)
    assert client.reply().body == PIECE * PIECES


def test_a_fast_reader_pauses_nobody() -> None:
    async def app(exchange: Exchange) -> None:
        exchange.start(200, PLAIN)
        for _ in range(PIECES):
            await exchange.write(PIECE)
        exchange.finish()

    client = Server(app).connect()
    client.get()
    assert client.reply().body == PIECE * PIECES


def test_a_fast_reader_holds_up_nobody_else() -> None:
    written = 0
    written_before: list[int] = []

    async def app(exchange: Exchange) -> None:
        nonlocal written
        if exchange.target == b"/other":
            written_before.append(written)
            exchange.respond(200, PLAIN, b"")
            return
        exchange.start(200, PLAIN)
        for _ in range(10 * WRITES_A_TURN):
            await exchange.write(PIECE)
            written += 1
        exchange.finish()

    server = Server(app)
    fast, other = server.connect(), server.connect()
    fast.transport.arrive(request("GET"))
    other.transport.arrive(request("GET", "/other"))
    server.run()
    assert written_before
    assert written_before[0] <= WRITES_A_TURN
    assert len(fast.reply().body) == 10 * WRITES_A_TURN * len(PIECE)


def test_an_error_that_the_transport_meets_while_writing_ends_the_producer() -> None:
    written = 0

    async def app(exchange: Exchange) -> None:
        nonlocal written
        exchange.start(200, PLAIN)
        while written < 10 * WRITES_A_TURN:
            if written == 5:  # as uvloop does it: this write fails, and the loop calls connection_lost later
                client.transport.vanish()
            written += 1
            await exchange.write(PIECE)

    client = Server(app).connect()
    client.get()
    assert 5 < written <= WRITES_A_TURN


def test_a_whole_answer_of_any_size_is_left_to_the_transport() -> None:
    async def app(exchange: Exchange) -> None:
        exchange.respond(200, PLAIN, PIECE * PIECES)

    server = Server(app)
    client = server.connect()
    client.transport.slow = True
    client.get()
    assert len(server.flight.requests) == 1
    client.read(2 * PIECES * len(PIECE))
    assert client.reply().body == PIECE * PIECES
    assert not client.ended


def test_a_reader_that_leaves_wakes_the_producer_it_had_paused() -> None:
    async def app(exchange: Exchange) -> None:
        exchange.start(200, PLAIN)
        while True:
            await exchange.write(PIECE)

    server = Server(app)
    client = server.connect()
    client.transport.slow = True
    client.get("/endless")
    client.vanish()
    assert server.cancelled == ["/endless"]
    assert server.flight.in_flight == {}


class Upload:
    """An app that reads its body when told to, and a client that has sent it all."""

    def __init__(self, body: bytes, *fields: str) -> None:
        self.body = b""
        self.server = Server(self._app)
        self.may_read = asyncio.Event()
        self.client = self.server.connect()
        self.client.send(request("POST", "/", *(fields or [f"Content-Length: {len(body)}"]), body=body))

    async def _app(self, exchange: Exchange) -> None:
        await self.may_read.wait()
        self.body = await read_all(exchange)
        exchange.respond(200, PLAIN)

    def read(self) -> None:
        self.may_read.set()
        self.server.run()


LARGE = bytes(range(256)) * 8192  # 2 MiB


def test_an_app_that_does_not_read_pauses_the_socket() -> None:
    upload = Upload(LARGE)
    held = len(LARGE) - len(upload.client.transport.unread)
    assert held <= BUFFERED_BYTES + READ_BYTES
    assert not upload.client.transport.reading
    upload.read()
    assert upload.body == LARGE
    assert upload.client.statuses() == [200]


def test_chunks_pause_the_socket_too() -> None:
    chunked = b"".join(b"%x\r\n%b\r\n" % (4096, LARGE[at : at + 4096]) for at in range(0, len(LARGE), 4096))
    upload = Upload(chunked + b"0\r\n\r\n", "Transfer-Encoding: chunked")
    assert len(chunked) - len(upload.client.transport.unread) <= BUFFERED_BYTES + READ_BYTES
    upload.read()
    assert upload.body == LARGE


def test_a_body_that_fits_does_not_pause_the_socket() -> None:
    upload = Upload(LARGE[: BUFFERED_BYTES - 1], f"Content-Length: {BUFFERED_BYTES}")
    assert upload.client.transport.reading
    upload.client.send(LARGE[:1])
    assert not upload.client.transport.reading


def test_requests_behind_a_body_that_nobody_reads_yet_wait_within_their_bound() -> None:
    upload = Upload(b"hello" + request("GET") * 100_000, "Content-Length: 5")
    total = 5 + len(request("GET")) * 100_000
    assert total - len(upload.client.transport.unread) <= READ_AHEAD_BYTES + READ_BYTES


def test_one_slow_client_does_not_hold_another() -> None:
    server = Server(hello)
    slow, fast = server.connect(), server.connect()
    slow.transport.slow = True
    slow.get()
    fast.get()
    assert slow.received == b""
    assert fast.statuses() == [200]
