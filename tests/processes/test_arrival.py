"""What comes before HTTP works on any event loop, for servers that have one of their own."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvloop

from prefork.http.arrival import Arrivals
from prefork.http.exchange import Exchange
from prefork.http.resident import SecureConnection, _progress
from prefork.http.service import Service
from prefork.processes.no_recorder import NoRecorder
from prefork.settings import Settings
from prefork.system.tls import Certificates
from tests.certificates import PAST, Folder
from tests.handshake import client_context
from tests.processes.patience import GUARD_SECONDS
from tests.processes.secure import SecureClient

pytestmark = pytest.mark.processes

LOOPS = pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
HEADER = b"PROXY TCP4 192.0.2.7 192.0.2.1 50000 443\r\n"


class Recorder(NoRecorder):
    """A flight recorder that counts the open connections."""

    open = 0

    def opened(self) -> int:
        self.open += 1
        return 0

    def closed(self, index: int) -> None:
        self.open -= 1


async def tell(exchange: Exchange) -> None:
    said = f"{exchange.client} {exchange.scheme} {exchange.tls is not None}"
    exchange.respond(200, ((b"content-type", b"text/plain"),), said.encode())


class Site:
    """A listener whose connections are received one at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = Folder(folder)
        cert, key = self.folder.make("a", "localhost")
        self.settings = Settings(
            tls_cert=[cert], tls_key=[key], proxy_protocol=True, forwarded_allow=["127.0.0.1"], header_seconds=3600.0
        )
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.address = f"https://127.0.0.1:{self.listener.getsockname()[1]}"
        self.recorder = Recorder()

    async def receive(self) -> Service:
        """Take one connection in."""
        service = Service(tell, self.settings, self.recorder)
        arrivals = Arrivals(service, self.settings, Certificates(self.settings))
        end, _ = await asyncio.get_running_loop().sock_accept(self.listener)
        try:
            await arrivals.receive(end, 0)
        except OSError:
            end.close()
            raise
        return service


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.listener.close()


@LOOPS
def test_header_handshake_and_request(site: Site, make_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    def ask() -> str:
        with SecureClient(site.address, client_context(site.folder.authority), "localhost", HEADER) as client:
            text = client.get("/", "connection: close\r\n").text
            client.wait_closed()
            return text

    async def main() -> None:
        client = asyncio.create_task(asyncio.to_thread(ask))
        service = await site.receive()
        assert await client == "('192.0.2.7', 50000) https True"
        async with asyncio.timeout(GUARD_SECONDS):
            while service.connections:
                service.sweep()
                await asyncio.sleep(0)
        assert site.recorder.open == 0

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(main())


@LOOPS
def test_a_client_that_leaves_within_its_header_leaves_nothing(
    site: Site, make_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def main() -> None:
        with socket.create_connection(site.listener.getsockname()) as client:
            client.sendall(HEADER[:20])
        with pytest.raises(ConnectionResetError):
            await site.receive()
        assert site.recorder.open == 0

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(main())


@LOOPS
def test_a_stop_may_come_in_the_very_turn_in_which_a_limit_has_passed(
    site: Site, make_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def main() -> None:
        settings = Settings(proxy_protocol=True, forwarded_allow=["127.0.0.1"])
        service = Service(tell, settings, site.recorder)
        arrivals = Arrivals(service, settings, None)
        told, faults = asyncio.Event(), list[object]()
        with socket.create_connection(site.listener.getsockname()):
            end, _ = await service.loop.sock_accept(site.listener)
            with end:
                receiving = asyncio.create_task(arrivals.receive(end, 0))
                while not arrivals._limits:  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(0)
                (limit,) = arrivals._limits

                def stop() -> None:
                    told.set()
                    arrivals.stop()

                now = service.loop.time()
                limit.reschedule(now)  # both are due at once, this one first
                service.loop.set_exception_handler(lambda _, found: faults.append(found))
                service.loop.call_at(now, stop)
                await told.wait()
                with pytest.raises(TimeoutError):
                    await receiving
                assert faults == []

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(main())


def test_what_is_wrong_with_new_certificates_is_told_once(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        certificates = Certificates(site.settings)
        arrivals = Arrivals(Service(tell, site.settings, site.recorder), site.settings, certificates)
        site.folder.make("a", "localhost", until=PAST)
        for _ in range(3):
            arrivals._report(certificates.renew)

    asyncio.run(main())
    assert [record.levelname for record in caplog.records] == ["ERROR"]


class Handing(asyncio.Transport):
    """A transport that is closing: it hands the kernel, bit by bit, what it still has."""

    aborted = False

    def __init__(self, end: socket.socket) -> None:
        super().__init__({"socket": end, "peername": end.getpeername(), "sockname": end.getsockname()})

    def is_closing(self) -> bool:
        return False

    def close(self) -> None: ...

    def abort(self) -> None:
        self.aborted = True


def test_a_close_waits_until_the_client_has_had_what_the_transport_still_has(site: Site) -> None:
    """The kernel has nothing to send at both looks, because the client reads faster than a busy loop writes."""

    async def main() -> None:
        connection = SecureConnection(Service(tell, site.settings, site.recorder))
        with socket.create_connection(site.listener.getsockname()) as client:
            end, _ = await connection.loop.sock_accept(site.listener)
            with end:
                transport = Handing(end)
                connection.connection_made(transport)
                connection._close()
                for _ in range(3):
                    connection.expired()
                    assert not transport.aborted
                    end.sendall(b"more")
                    assert client.recv(4) == b"more"
                    while _progress(end)[0]:  # noqa: ASYNC110 - the kernel knows when it is acknowledged
                        await asyncio.sleep(0)
                connection.expired()
                assert not transport.aborted
                connection.expired()
                assert transport.aborted

    asyncio.run(main())
