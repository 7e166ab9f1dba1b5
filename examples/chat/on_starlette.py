"""A chat on Starlette: `prefork serve chat.on_starlette:app --app-dir examples`, then open it in two windows.

It shows a lifespan with state, JSON, a streamed upload, server-sent events, a WebSocket and static files. An ordinary
ASGI app: uvicorn runs it too. `on_prefork.py` is the same in prefork's own words.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from tempfile import gettempdir

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from .room import Message, Room, message_from

FOLDER = Path(os.environ.get("CHAT_FOLDER", Path(gettempdir(), "chat-on-starlette")))
PAGE = Path(__file__).parent / "page"


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Room]]:
    """Runs in each worker. What it yields is `request.state` of every request."""
    room = Room(FOLDER)
    yield {"room": room}
    room.close()


async def messages(request: Request) -> JSONResponse:
    return JSONResponse([asdict(message) for message in request.state.room.recent])


async def say(request: Request) -> JSONResponse:
    try:
        message = message_from(await request.json())
    except json.JSONDecodeError:
        raise HTTPException(400, "that is no JSON") from None
    except ValueError as error:
        raise HTTPException(422, str(error)) from None
    request.state.room.say(message)
    return JSONResponse(asdict(message), 201)


async def events(request: Request) -> StreamingResponse:
    """Listen with server-sent events."""

    async def stream() -> AsyncIterator[str]:
        with request.state.room.listen() as heard:
            yield "event: joined\ndata: {}\n\n"  # from here on, nothing is missed
            while True:
                yield f"event: message\ndata: {json.dumps(asdict(await heard.get()))}\n\n"

    return StreamingResponse(stream(), media_type="text/event-stream", headers={"cache-control": "no-store"})


async def talk(socket: WebSocket) -> None:
    """Listen and speak over one WebSocket."""
    room: Room = socket.state.room
    with room.listen() as heard:  # from before it is accepted, so nothing is missed
        await socket.accept()
        telling = asyncio.create_task(tell(socket, heard))
        try:
            async for text in socket.iter_text():
                room.say(message_from(json.loads(text)))
        except ValueError as error:
            await socket.close(1008, str(error))
        finally:
            telling.cancel()


async def tell(socket: WebSocket, heard: asyncio.Queue[Message]) -> None:
    try:
        while True:
            await socket.send_json(asdict(await heard.get()))
    except WebSocketDisconnect:
        pass  # `talk` hears of it too


async def digest(request: Request) -> JSONResponse:
    """Take an upload of any size, piece by piece."""
    size, digest = 0, sha256()
    async for piece in request.stream():
        size += len(piece)
        digest.update(piece)
    return JSONResponse({"size": size, "sha256": digest.hexdigest()})


routes = [
    Route("/api/messages", messages),
    Route("/api/messages", say, methods=["POST"]),
    Route("/api/events", events),
    Route("/api/digest", digest, methods=["PUT"]),
    WebSocketRoute("/api/talk", talk),
    Mount("/", StaticFiles(directory=PAGE, html=True)),
]

app = Starlette(routes=routes, lifespan=lifespan)
