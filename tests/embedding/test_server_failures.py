"""How a Server fails to start or to stop: with a clear error, and without a trace."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from prefork import App, Request, Server
from prefork.errors import BindError, UsageError
from prefork.processes import embedded
from tests.embedding.loops import LOOPS, run
from tests.embedding.servers import get
from tests.embedding.site import make_site, saying

pytestmark = pytest.mark.parametrize("loop", LOOPS)


def test_a_start_up_that_fails_raises_the_apps_own_error(loop: str, tmp_path: Path) -> None:
    class NoDatabase(Exception):
        pass

    async def test() -> None:
        app = make_site()

        @app.on_startup
        async def fail() -> None:
            raise NoDatabase("on purpose")

        path = tmp_path / "socket"
        server = Server(app, bind=f"unix:{path}", access_log=True, access_log_file=str(tmp_path / "log"))
        for _ in range(2):
            with pytest.raises(NoDatabase, match="on purpose"):
                await server.start()
            assert not path.exists()
        with pytest.raises(NoDatabase):
            async with server:
                pytest.fail("it did not start")

    run(loop, test)


def test_a_shutdown_hook_that_fails_is_logged_and_everything_is_released(
    loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        app = make_site()

        @app.on_shutdown
        async def fail() -> None:
            raise RuntimeError("cannot say goodbye")

        async with Server(app):
            pass
        assert app.state.life == ["started", "stopped"]

    run(loop, test)
    assert "cannot say goodbye" in caplog.text


@pytest.mark.parametrize("how", ["raises", "says so", "hangs"])
def test_a_shutdown_of_an_asgi_app_that_fails_is_logged_and_everything_is_released(
    loop: str, how: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(embedded, "END_SECONDS", 0.05 if how == "hangs" else 60.0)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if how == "raises":
            raise ValueError("cannot say goodbye")
        if how == "says so":
            await send({"type": "lifespan.shutdown.failed", "message": "cannot say goodbye"})
        else:
            await asyncio.Event().wait()

    async def test() -> None:
        async with Server(app):
            pass

    run(loop, test)
    assert ("did not end within 0.05 s" if how == "hangs" else "cannot say goodbye") in caplog.text


def test_a_start_up_that_goes_on_is_cancelled_and_not_stopped(loop: str) -> None:
    async def test() -> None:
        app = App()
        entered = asyncio.Event()

        @app.on_startup
        async def wait() -> None:
            entered.set()
            await asyncio.Event().wait()

        server = Server(app)
        starting = asyncio.create_task(server.start())
        await entered.wait()
        with pytest.raises(RuntimeError, match="still starts"):
            await server.stop()
        starting.cancel()
        await asyncio.wait((starting,))
        assert starting.cancelled()
        assert repr(server) == "<Server stopped>"
        await server.stop()

    run(loop, test)


@pytest.mark.parametrize("how", ["says so", "is cancelled"])
def test_a_start_up_of_an_asgi_app_that_fails_leaves_no_task(loop: str, how: str) -> None:
    async def test() -> None:
        entered = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            while await receive():
                if how == "says so":
                    await send({"type": "lifespan.startup.failed", "message": "no database"})
                entered.set()

        starting = asyncio.create_task(Server(app).start())
        await entered.wait()
        if how == "is cancelled":
            starting.cancel()
        await asyncio.wait((starting,))
        assert starting.cancelled() or "no database" in str(starting.exception())

    run(loop, test)


def test_a_handler_may_order_the_stop_but_not_wait_for_it(loop: str) -> None:
    async def test() -> None:
        orders: list[asyncio.Task[None]] = []

        async def leave(request: Request) -> str:
            with pytest.raises(RuntimeError, match="a handler cannot wait for the end of its own server"):
                await server.stop()
            orders.append(asyncio.create_task(server.stop()))
            return "goodbye"

        server = Server(leave)
        await server.start()
        assert (await get(server.url)).text == "goodbye"
        await orders[0]
        assert repr(server) == "<Server stopped>"

    run(loop, test)


def test_another_loop_cannot_stop_it(loop: str) -> None:
    async def test() -> None:
        async with Server(saying("x")) as server:
            with pytest.raises(RuntimeError, match="another event loop"):
                await asyncio.to_thread(asyncio.run, server.stop())
            assert (await get(server.url)).text == "x"

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:  # the loop keeps the thread
        runner.run(test())


def test_an_address_in_use_and_a_file_that_cannot_be_written(loop: str, tmp_path: Path) -> None:
    async def test() -> None:
        app = make_site()
        async with Server(saying("x")) as server:
            with pytest.raises(BindError, match=f"cannot bind 127.0.0.1:{server.port}: address already in use"):
                await Server(app, port=server.port).start()
        with pytest.raises(UsageError, match="cannot write the log file"):
            await Server(app, access_log=True, access_log_file=str(tmp_path / "no" / "log")).start()
        assert app.state.life == []

    run(loop, test)
