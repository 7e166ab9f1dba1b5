"""An ASGI app's lifespan: what it is told, and what its words do."""

import asyncio

import pytest

from prefork.errors import BootError, ResponseError
from prefork.web.asgi_types import Message, Receive, Scope, Send
from tests.apps.asgi_server import AsgiServer, answering, body, start


class Living:
    """An app that speaks lifespan and writes down what happens."""

    def __init__(self, on_startup: Message | None = None, on_shutdown: Message | None = None) -> None:
        self.log: list[str] = []
        self.on_startup = on_startup or {"type": "lifespan.startup.complete"}
        self.on_shutdown = on_shutdown or {"type": "lifespan.shutdown.complete"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await send(start())
            await send(body())
            return
        assert scope["asgi"]["version"] == "3.0"
        self.log.append((await receive())["type"])
        await send(self.on_startup)
        self.log.append((await receive())["type"])
        await send(self.on_shutdown)


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_the_app_is_told_of_both_ends(mode: str) -> None:
    app = Living()
    server = AsgiServer(app, lifespan=mode)
    assert app.log == ["lifespan.startup"]
    server.do(server.application.shutdown())
    assert app.log == ["lifespan.startup", "lifespan.shutdown"]


def test_off_is_never_told() -> None:
    app = Living()
    server = AsgiServer(app, lifespan="off")
    server.do(server.application.shutdown())
    assert app.log == []


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_a_start_up_that_failed_stops_the_boot_in_the_apps_words(mode: str) -> None:
    app = Living({"type": "lifespan.startup.failed", "message": "no database"})
    with pytest.raises(BootError, match=r"^no database$"):
        AsgiServer(app, lifespan=mode)


async def refusing(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        raise ValueError("only http")
    await answering(start(), body(b"hello"))(scope, receive, send)


async def silent(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await answering(start(), body(b"hello"))(scope, receive, send)


@pytest.mark.parametrize("app", [refusing, silent])
def test_an_app_that_wants_none_serves_all_the_same(app: object) -> None:
    server = AsgiServer(app, lifespan="auto")  # type: ignore[arg-type]
    assert server.get().reply().body == b"hello"
    server.do(server.application.shutdown())


def test_an_app_that_has_to_speak_it_and_raises_cannot_boot() -> None:
    with pytest.raises(ValueError, match="only http"):
        AsgiServer(refusing, lifespan="on")
    with pytest.raises(BootError, match="without a word"):
        AsgiServer(silent, lifespan="on")


def test_a_shutdown_that_failed_is_logged_in_the_apps_words(caplog: pytest.LogCaptureFixture) -> None:
    app = Living(on_shutdown={"type": "lifespan.shutdown.failed", "message": "could not flush"})
    server = AsgiServer(app, lifespan="on")
    server.do(server.application.shutdown())
    assert "could not flush" in caplog.text


def test_an_error_while_it_serves_is_logged_and_the_app_serves_on(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await answering(start(), body(b"hello"))(scope, receive, send)
            return
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await broken.wait()
        raise LookupError("the app's own")

    broken = asyncio.Event()
    server = AsgiServer(app, lifespan="on")
    broken.set()
    server.run()
    assert "the app's own" in caplog.text
    assert server.get().reply().body == b"hello"
    server.do(server.application.shutdown())


def test_words_out_of_order_raise_in_the_app() -> None:
    app = Living({"type": "lifespan.shutdown.complete"})
    with pytest.raises(ResponseError, match=r"lifespan\.shutdown\.complete was sent where the lifespan is starting"):
        AsgiServer(app, lifespan="on")
