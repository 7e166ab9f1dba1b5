"""Which connections a full service closes so that others find room."""

from prefork.http.exchange import Exchange
from prefork.processes.room import make_room
from tests.http.server import PLAIN, Client, Server, endless, hello
from tests.http.transport import HIGH_WATER


async def answer(exchange: Exchange) -> None:
    if exchange.target == b"/busy":
        await endless(exchange)
    elif exchange.target == b"/large":
        exchange.start(200, PLAIN, 3 * HIGH_WATER)
        for _ in range(3):
            await exchange.write(b"x" * HIGH_WATER)
        exchange.finish()
    else:
        await hello(exchange)


def gone(server: Server, *clients: Client) -> list[bool]:
    server.run()
    return [client.connection not in server.service.connections for client in clients]


def test_the_oldest_without_a_request_make_room_first() -> None:
    server = Server(answer)
    clients = []
    for sent in (b"GET /busy HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HT", b"", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b""):
        clients.append(server.connect().send(sent) if sent else server.connect())
        server.advance(1.0)
    assert make_room(server.service.connections, 3) == 3
    assert gone(server, *clients) == [False, True, True, True, False]
    assert make_room(server.service.connections, 3) == 1
    assert gone(server, *clients) == [False, True, True, True, True]
    assert make_room(server.service.connections, 3) == 0  # who waits for an answer keeps its place


def test_who_does_not_read_its_answers_makes_room_when_nobody_is_idle() -> None:
    server = Server(answer)
    deaf, busy = server.connect(), server.connect()
    deaf.transport.slow = True
    deaf.get("/large")
    busy.get("/busy")
    assert make_room(server.service.connections, 2) == 1
    assert gone(server, deaf, busy) == [True, False]
    assert server.cancelled == ["/large"]
