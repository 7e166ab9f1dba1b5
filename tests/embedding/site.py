"""An App that shows what a request and a response went through, for every server that is to run it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from prefork import (
    App,
    Event,
    EventStream,
    FileResponse,
    HTTPError,
    Request,
    Response,
    StreamingResponse,
    WebSocket,
)


def make_site(folder: Path | None = None) -> App:
    """A fresh App; its life is told in `app.state.life`, what streams came to in `app.state.ends`."""
    app = App()
    app.state.life = []
    app.state.ends = []
    app.state.entered = asyncio.Event()  # /wait waits

    @app.on_startup
    async def start() -> None:
        app.state.life.append("started")

    @app.on_shutdown
    async def stop() -> None:
        app.state.life.append("stopped")

    @app.get("/seen/{rest:path}")
    async def seen(request: Request) -> dict[str, object]:
        return {
            "method": request.method,
            "path": request.path,
            "mount_path": request.mount_path,
            "rest": request.path_params["rest"],
            "query": request.query.get_all("q"),
            "scheme": request.scheme,
            "x": request.headers.get("x-sent"),
        }

    @app.post("/length", max_body=1000)
    async def length(request: Request) -> str:
        return str(len(await request.body()))

    @app.post("/echo")
    async def echo(request: Request) -> StreamingResponse:
        return StreamingResponse(request.stream())

    @app.post("/deaf")
    async def deaf(request: Request) -> str:
        return "I did not listen"

    @app.get("/thread")
    def thread(request: Request) -> str:
        return request.wait(_later("from a thread"))

    @app.get("/stream")
    async def stream(request: Request) -> StreamingResponse:
        return StreamingResponse([b"one ", "two ", b"three"])

    @app.get("/events")
    async def events(request: Request) -> EventStream:
        return EventStream([Event("a", id="1"), "b"])

    @app.get("/endless")
    async def endless(request: Request) -> EventStream:
        return EventStream(_endless(app))

    @app.get("/file")
    async def file(request: Request) -> FileResponse:
        assert folder is not None
        return FileResponse(folder / "file.txt")

    @app.get("/empty")
    async def empty(request: Request) -> None:
        return None

    @app.get("/fields")
    async def fields(request: Request) -> Response:
        return Response("x", headers=[("set-cookie", "a=1"), ("set-cookie", "b=2"), ("transfer-encoding", "chunked")])

    @app.get("/missing")
    async def missing(request: Request) -> None:
        raise HTTPError(404, "not here")

    @app.get("/broken")
    async def broken(request: Request) -> None:
        raise RuntimeError("broken on purpose")

    @app.get("/half")
    async def half(request: Request) -> StreamingResponse:
        return StreamingResponse(_half())

    @app.get("/short")
    async def short(request: Request) -> StreamingResponse:
        return StreamingResponse([b"four"], length=10)

    @app.get("/wait")
    async def wait(request: Request) -> str:
        app.state.ends.append("waiting")
        app.state.entered.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            app.state.ends.append("cancelled")
        return "never"

    @app.websocket("/ws/{rest}")
    async def talk(ws: WebSocket) -> None:
        request = ws.request
        await ws.accept(ws.subprotocols[0] if ws.subprotocols else None, {"x-here": request.mount_path})
        await ws.send_json([request.path, request.path_params["rest"], request.scheme, request.query.get("q")])
        async for message in ws:
            if message == "close":
                await ws.close(4001, "as you like")
            elif message == "fail":
                raise RuntimeError("broken in a WebSocket")
            else:
                await ws.send(message)
        assert ws.closed is not None
        app.state.ends.append((ws.closed.code, ws.closed.reason))

    @app.websocket("/closed")
    async def denied(ws: WebSocket) -> None:
        raise HTTPError(401, "who are you?", {"www-authenticate": "Basic"})

    return app


def saying(text: str) -> App:
    """An App that says one thing."""
    app = App()

    @app.get("/")
    async def say(request: Request) -> str:
        return text

    return app


async def _later(text: str) -> str:
    await asyncio.sleep(0)
    return text


async def _half() -> AsyncIterator[bytes]:
    yield b"half of it"
    raise RuntimeError("broken within the response")


async def _endless(app: App) -> AsyncIterator[str]:
    try:
        while True:
            yield "tick"
            await asyncio.sleep(0.001)
    finally:
        app.state.ends.append("closed")
