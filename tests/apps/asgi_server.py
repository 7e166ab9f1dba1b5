"""An ASGI app behind a real connection, in memory."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from prefork.apps.asgi import AsgiApplication
from prefork.settings import Settings
from prefork.web.asgi_types import Message, Receive, Scope, Send
from tests.http.server import Client, Server

AsgiApp = Callable[[Scope, Receive, Send], Awaitable[object]]

TEXT = [(b"content-type", b"text/plain")]


class AsgiServer(Server):
    """Start-up has run; what is logged is the test's to look at."""

    def __init__(self, app: AsgiApp, **settings: Any) -> None:
        settings = {"lifespan": "off", **settings}
        self.application = AsgiApplication(app, Settings(**settings))
        super().__init__(self.application, **settings)
        self.do(self.application.startup())

    def do(self, work: Awaitable[object]) -> None:
        """Run something on the server's loop until it is done."""

        async def run() -> None:
            await work

        task = self.loop.create_task(run())
        self.run()
        task.result()

    def get(self, target: str = "/", *fields: str) -> Client:
        return self.connect().get(target, *fields)


def start(status: int = 200, headers: object = TEXT, **more: object) -> Message:
    return {"type": "http.response.start", "status": status, "headers": headers, **more}


def body(data: object = b"", more: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


def answering(*messages: Message) -> AsgiApp:
    """An app that sends these, whatever comes."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return app


def keeping(seen: list[Scope]) -> AsgiApp:
    """An app that keeps each scope."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)
        await send(start())
        await send(body(b"seen"))

    return app


def echoing() -> AsgiApp:
    """An app that answers with the pieces it received, each in brackets."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        pieces = []
        more = True
        while more:
            message = await receive()
            assert message["type"] == "http.request"
            pieces.append(b"[" + message["body"] + b"]")
            more = message["more_body"]
        await send(start())
        await send(body(b"".join(pieces)))

    return app


class Waiting:
    """An app that reads what `receive` gives until the client is gone."""

    def __init__(self) -> None:
        self.received: list[str] = []
        self.cancelled = False
        self.before: Callable[[Send], Awaitable[None]] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.before is not None:
            await self.before(send)
        try:
            while "http.disconnect" not in self.received:
                self.received.append((await receive())["type"])
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
