"""The chat in prefork's own words: `prefork serve chat.on_prefork:app --app-dir examples`.

Compare with `on_starlette.py`: the same room, the same page, the same answers.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from tempfile import gettempdir

from prefork import App, Event, EventStream, HTTPError, JSONResponse, Request, Response, WebSocket, WebSocketClosed

from .room import Message, Room, message_from

FOLDER = Path(os.environ.get("CHAT_FOLDER", Path(gettempdir(), "chat-on-prefork")))


@asynccontextmanager
async def lifespan(app: App) -> AsyncIterator[None]:
    """Runs in each worker."""
    room = app.state.room = Room(FOLDER)
    yield
    room.close()


app = App(lifespan=lifespan)
app.static("/", Path(__file__).parent / "page")


@app.get("/api/messages")
async def messages(request: Request) -> list[Message]:
    return list(request.app.state.room.recent)


@app.post("/api/messages")
async def say(request: Request) -> Response:
    try:
        message = message_from(await request.json())
    except ValueError as error:
        raise HTTPError(422, str(error)) from None
    request.app.state.room.say(message)
    return JSONResponse(message, 201)


@app.get("/api/events")
async def events(request: Request) -> EventStream:
    """Listen with server-sent events."""

    async def stream() -> AsyncIterator[Event]:
        with request.app.state.room.listen() as heard:
            yield Event({}, event="joined")  # from here on, nothing is missed
            while True:
                yield Event(await heard.get(), event="message")

    return EventStream(stream())


@app.websocket("/api/talk")
async def talk(ws: WebSocket) -> None:
    """Listen and speak over one WebSocket."""
    room: Room = ws.request.app.state.room
    with room.listen() as heard:  # from before it is accepted, so nothing is missed
        await ws.accept()
        telling = asyncio.create_task(tell(ws, heard))
        try:
            async for text in ws:
                room.say(message_from(json.loads(text)))
        except ValueError as error:
            await ws.close(1008, str(error))
        finally:
            telling.cancel()


async def tell(ws: WebSocket, heard: asyncio.Queue[Message]) -> None:
    try:
        while True:
            await ws.send_json(await heard.get())
    except WebSocketClosed:
        pass  # `talk` hears of it too


@app.put("/api/digest", max_body=1024**3)
async def digest(request: Request) -> dict[str, object]:
    """Take an upload, piece by piece."""
    size, digest = 0, sha256()
    async for piece in request.stream():
        size += len(piece)
        digest.update(piece)
    return {"size": size, "sha256": digest.hexdigest()}
