"""How a Server starts and stops: in order, in time, and without a trace."""

import asyncio
import contextvars
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from prefork import App, Request, Server, StreamingResponse
from prefork.children.thread_pool import own
from prefork.testing.thread import ThreadedServer
from tests.certificates import Folder
from tests.embedding.loops import LOOPS, run
from tests.embedding.servers import get
from tests.embedding.site import make_site, saying

pytestmark = pytest.mark.parametrize("loop", LOOPS)


def test_serves_at_its_url_between_start_up_and_shutdown(loop: str) -> None:
    async def test() -> None:
        app = make_site()
        async with Server(app) as server:
            assert app.state.life == ["started"]
            assert server.url == f"http://127.0.0.1:{server.port}"
            answer = await get(f"{server.url}/seen/x?q=1")
            assert (answer.status_code, answer.json()["rest"], answer.headers["server"]) == (200, "x", "prefork")
        assert app.state.life == ["started", "stopped"]
        with pytest.raises(httpx.ConnectError):
            await get(f"{answer.url}")

    run(loop, test)


def test_start_and_stop_may_be_called_and_repeated(loop: str) -> None:
    async def test() -> None:
        app = make_site()
        server = Server(app, server_header=False)
        for _ in range(2):
            await server.start()
            with pytest.raises(RuntimeError, match="runs already"):
                await server.start()
            assert "server" not in (await get(f"{server.url}/seen/x")).headers
            await server.stop()
            await server.stop()
        assert app.state.life == ["started", "stopped"] * 2
        with pytest.raises(RuntimeError, match="does not run"):
            _ = server.url
        assert repr(server) == "<Server stopped>"

    run(loop, test)


def test_a_request_in_progress_finishes_before_the_stop(loop: str) -> None:
    async def test() -> None:
        entered, gate, life = asyncio.Event(), asyncio.Event(), list[str]()

        async def pieces() -> AsyncIterator[bytes]:
            yield b"one "
            entered.set()
            await gate.wait()
            yield b"two"

        app = App()

        @app.get("/")
        async def handler(request: Request) -> StreamingResponse:
            return StreamingResponse(pieces())

        @app.on_shutdown
        async def end() -> None:
            life.append("stopped")

        server = Server(app)
        await server.start()
        port = server.port
        asking = asyncio.create_task(get(server.url))
        await entered.wait()
        stopping = asyncio.create_task(server.stop())
        await asyncio.sleep(0)  # it has begun
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        assert (life, stopping.done()) == ([], False)
        gate.set()
        assert (await asking).text == "one two"
        await stopping
        assert life == ["stopped"]

    run(loop, test)


def test_what_does_not_finish_in_time_is_cut(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        app = make_site()
        server = Server(app, drain_seconds=0.05)
        await server.start()
        asking = asyncio.create_task(get(f"{server.url}/wait", timeout=None))
        await app.state.entered.wait()
        await server.stop()
        with pytest.raises(httpx.RemoteProtocolError):
            await asking
        assert app.state.ends == ["waiting", "cancelled"]
        assert app.state.life == ["started", "stopped"]

    run(loop, test)
    assert "cut at the drain limit: GET /wait" in caplog.text


def test_a_stop_that_is_cancelled_cuts_at_once_and_still_releases_everything(loop: str) -> None:
    async def test() -> None:
        app = make_site()
        server = Server(app)
        await server.start()
        asking = asyncio.create_task(get(f"{server.url}/wait", timeout=None))
        await app.state.entered.wait()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await server.stop()
        with pytest.raises(httpx.RemoteProtocolError):
            await asking
        assert app.state.life == ["started", "stopped"]

    run(loop, test)


def test_idle_connections_are_closed_by_a_stop(loop: str) -> None:
    async def test() -> None:
        server = Server(saying("x"))
        await server.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\nx")).startswith(b"HTTP/1.1 200")
        await server.stop()
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()

    run(loop, test)


def test_connections_that_nobody_has_accepted_yet_are_served(loop: str) -> None:
    async def test() -> None:
        server = Server(saying("x"))
        await server.start()
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")  # without a turn of the loop
            await server.stop()
            assert client.recv(1000).startswith(b"HTTP/1.1 200")

    run(loop, test)


def test_each_of_two_servers_has_a_life_of_the_app_to_itself(loop: str) -> None:
    async def test() -> None:
        app = make_site()
        async with Server(app) as server:
            other = ThreadedServer(app)  # with a loop of its own
            async with Server(app):
                assert app.state.life == ["started"] * 3
            assert app.state.life == ["started"] * 3 + ["stopped"]
            await asyncio.to_thread(other.stop)
            assert app.state.life == ["started"] * 3 + ["stopped"] * 2
            assert (await get(f"{server.url}/stream")).text == "one two three"
        assert app.state.life == ["started"] * 3 + ["stopped"] * 3

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:  # the loop keeps its thread
        runner.run(test())


def test_a_second_stop_waits_for_the_first(loop: str) -> None:
    async def test() -> None:
        entered, leave = asyncio.Event(), asyncio.Event()

        async def wait(request: Request) -> str:
            entered.set()
            await leave.wait()
            return "goodbye"

        server = Server(wait)
        await server.start()
        asking = asyncio.create_task(get(server.url, timeout=None))
        await entered.wait()
        first = asyncio.create_task(server.stop())
        await asyncio.sleep(0)
        second = asyncio.create_task(server.stop())
        leave.set()
        await second
        with pytest.raises(httpx.ConnectError):
            await get(f"{(await asking).url}")
        await first

    run(loop, test)


def test_websockets_are_served_and_told_of_the_stop(loop: str) -> None:
    async def test() -> None:
        app = make_site()
        server = Server(app)
        await server.start()
        ends = [await connect(f"ws://127.0.0.1:{server.port}/ws/x", proxy=None) for _ in range(3)]
        for end in ends:
            await end.recv()
            await end.send("hello")
            assert await end.recv() == "hello"
        await server.stop()
        for end in ends:
            with pytest.raises(ConnectionClosed):
                await end.recv()
            assert end.close_code == 1012
            await end.wait_closed()
        assert app.state.ends == [(1012, "service restart")] * 3

    run(loop, test)


def test_handlers_see_the_context_of_the_start_and_not_each_other(loop: str) -> None:
    variable = contextvars.ContextVar("variable", default="default")

    async def test() -> None:
        async def handler(request: Request) -> str:
            seen = variable.get()
            variable.set("left behind")
            return seen

        variable.set("of the program")
        async with Server(handler) as server:
            assert (await get(server.url)).text == "of the program"
            assert (await get(server.url)).text == "of the program"
        assert own.get() is None

    run(loop, test)


@pytest.fixture
def secure(tmp_path: Path) -> dict[str, Any]:
    """The settings of a server that speaks TLS."""
    cert, key = Folder(tmp_path).make("a", "localhost")
    return {"tls_cert": cert, "tls_key": key}


def test_a_client_that_has_said_nothing_is_let_go_of_at_the_drain_limit(loop: str, secure: dict[str, Any]) -> None:
    async def test() -> None:
        server = Server(saying("x"), drain_seconds=0.05, **secure)
        await server.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        await server.stop()
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()

    run(loop, test)


def test_a_client_in_tls_that_does_not_close_is_cut_at_the_drain_limit(
    loop: str, secure: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def ask(port: int) -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=tmp_path / "ca.pem")
        client = context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="localhost")
        client.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert client.recv(9) == b"HTTP/1.1 "
        return client

    async def test() -> None:
        server = Server(saying("x"), drain_seconds=0.05, **secure)
        await server.start()
        with await asyncio.to_thread(ask, server.port):
            await server.stop()

    run(loop, test)
    assert caplog.records == []
