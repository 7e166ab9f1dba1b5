"""A service without a worker, and clients without sockets: what the tests of connections talk to."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from prefork.errors import Disconnected, RequestError
from prefork.http.access import AccessLog
from prefork.http.connection import Connection
from prefork.http.exchange import Exchange
from prefork.http.service import Service
from prefork.settings import Settings
from tests.http.loop import FakeLoop
from tests.http.replies import Reply, parse
from tests.http.transport import FakeTransport

App = Callable[[Exchange], Awaitable[object]]
PEER, HERE = ("192.0.2.7", 50000), ("192.0.2.1", 80)
PLAIN = ((b"content-type", b"text/plain"),)


class Flight:
    """Records what a flight recorder is told."""

    def __init__(self) -> None:
        self.open: set[int] = set()
        self.in_flight: dict[int, bytes] = {}
        self.requests: list[tuple[str, int]] = []  # method and status of what was answered
        self.refusals: list[int] = []
        self.waits = 0  # connections whose first bytes have come
        self._next = 0

    def opened(self) -> int:
        self._next += 1
        self.open.add(self._next)
        return self._next

    def closed(self, index: int) -> None:
        self.open.remove(index)
        self.in_flight.pop(index, None)

    def began(self, index: int, now: float, head: bytes) -> None:
        assert index not in self.in_flight, "one at a time"
        self.in_flight[index] = head.partition(b" HTTP/")[0]

    def answered(self, index: int, exchange: Exchange) -> None:
        del self.in_flight[index]
        self.requests.append((exchange.method, exchange.status))

    def switched(self, index: int, exchange: Exchange) -> None:
        self.requests.append((exchange.method, exchange.status))

    def ended(self, index: int) -> None:
        del self.in_flight[index]

    def refused(self, status: int) -> None:
        self.refusals.append(status)

    def waited(self, seconds: float) -> None:
        self.waits += 1


class Server:
    """Runs an app. Like the framework, it answers what `read` raises; anything else an app raises fails the test."""

    def __init__(self, app: App, access_log: AccessLog | None = None, **settings: Any) -> None:
        self.loop = FakeLoop()
        self.flight = Flight()
        self.cancelled: list[str] = []  # targets whose handlers were cancelled
        self._app = app
        self.service = Service(self._run, Settings(**settings), self.flight, access_log, self.loop.as_loop)

    async def _run(self, exchange: Exchange) -> None:
        try:
            await self._app(exchange)
        except RequestError as error:
            exchange.fail(error)
        except Disconnected:
            exchange.abort()
        except asyncio.CancelledError:
            self.cancelled.append(exchange.target.decode())
            raise

    def connect(self, **extra: Any) -> "Client":
        connection = self.service.connection()
        extra = {"peername": PEER, "sockname": HERE, **extra}
        client = Client(self, connection, FakeTransport(self.loop.as_loop, connection, extra))
        self.loop.run()
        return client

    def advance(self, seconds: float) -> None:
        """Let time pass, sweeping as often as a worker does."""
        until = self.loop.now + seconds
        while self.loop.now < until:
            self.loop.advance(min(self.service.sweep_seconds, until - self.loop.now))
            self.service.sweep()
            self.run()

    def run(self) -> None:
        self.loop.run()
        assert self.loop.faults == []


class Client:
    """One connection, seen from both ends."""

    def __init__(self, server: Server, connection: Connection, transport: FakeTransport) -> None:
        self.server = server
        self.connection = connection
        self.transport = transport

    def __repr__(self) -> str:
        return f"<Client of {self.connection!r}, got {self.received!r}>"

    def send(self, *pieces: bytes) -> "Client":
        """Each piece is a read of the server's."""
        for piece in pieces:
            self.transport.arrive(piece)
            self.server.run()
        return self

    def get(self, target: str = "/", *fields: str) -> "Client":
        return self.send(request("GET", target, *fields))

    def half_close(self) -> None:
        self.transport.end()
        self.server.run()

    def vanish(self) -> None:
        self.transport.vanish()
        self.server.run()

    def read(self, count: int) -> None:
        """A slow client reads on."""
        self.transport.accept(count)
        self.server.run()

    @property
    def received(self) -> bytes:
        return bytes(self.transport.sent)

    @property
    def ended(self) -> bool:
        """Whether the client sees the end: nothing more will come."""
        return self.transport.ended or self.transport.reset

    def replies(self, *methods: str) -> list[Reply]:
        return parse(self.received, methods, self.ended)

    def reply(self, method: str = "GET") -> Reply:
        (reply,) = self.replies(method)
        return reply

    def statuses(self, *methods: str) -> list[int]:
        return [reply.status for reply in self.replies(*methods)]


def request(method: str, target: str = "/", *fields: str, body: bytes = b"", version: str = "1.1") -> bytes:
    """The bytes of a request with a Host field."""
    lines = [f"{method} {target} HTTP/{version}", "Host: a", *fields]
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1") + b"\r\n" + body


async def hello(exchange: Exchange) -> None:
    exchange.respond(200, PLAIN, b"hello")


async def endless(exchange: Exchange) -> None:
    """Never answer."""
    await asyncio.get_running_loop().create_future()


async def read_all(exchange: Exchange) -> bytes:
    """The body, within the server's limit, as the framework reads it."""
    exchange.limit_body(exchange.connection.service.max_body)
    pieces = []
    while piece := await exchange.read():
        pieces.append(piece)
    return b"".join(pieces)


async def echo(exchange: Exchange) -> None:
    """Answer with method, target and body."""
    body = await read_all(exchange)
    exchange.respond(200, PLAIN, b"%b %b %b" % (exchange.method.encode(), exchange.target, body))
