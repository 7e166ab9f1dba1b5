"""An ASGI app, without a framework, whose lifespan and requests do what a test asks for.

`/gate` waits at the Unix socket `gate` in the server's folder until the test lets it go, or its client leaves.
"""

import asyncio
import os
from pathlib import Path
from typing import Any, BinaryIO

Message = dict[str, Any]

TEXT = [(b"content-type", b"text/plain")]
FILE = "file.bin"


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await live(scope, receive, send)
        return
    await HANDLERS[scope["path"]](scope, receive, send)


async def live(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await receive()
    if asked_to_fail():
        await send({"type": "lifespan.startup.failed", "message": "no database on purpose"})
        return
    scope["state"] |= {"made_by": os.getpid(), "sent": []}
    await send({"type": "lifespan.startup.complete"})
    await receive()
    note_stop()
    await send({"type": "lifespan.shutdown.complete"})


async def who(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await answer(send, f"{os.getpid()} {scope['state']['made_by']}")


async def length(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """How many bytes the body has, and in how many messages it came."""
    total, messages, more = 0, 0, True
    while more:
        message = await receive()
        total, messages, more = total + len(message["body"]), messages + 1, message["more_body"]
    await answer(send, f"{total} {messages > 1}")


async def gate(scope: dict[str, Any], receive: Any, send: Any) -> None:
    reader, writer = await asyncio.open_unix_connection("gate")
    try:
        await reader.read()
    finally:
        writer.close()
    await answer(send, str(os.getpid()))


async def after(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Goes on after its answer, as Starlette's background tasks do, and says to the gate that it could end."""
    await answer(send, "soon")
    reader, writer = await asyncio.open_unix_connection("gate")
    try:
        await reader.read(1)
        writer.write(b"done")
        await writer.drain()
    finally:
        writer.close()


async def told(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Says to the gate what `receive` gives once the client is gone."""
    _, writer = await asyncio.open_unix_connection("gate")
    await receive()
    writer.write((await receive())["type"].encode())
    writer.close()


async def flood(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Sends without end; `/sent` tells how many pieces went out."""
    await send({"type": "http.response.start", "status": 200, "headers": TEXT})
    while True:
        await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        scope["state"]["sent"].append(1)


async def sent(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await answer(send, str(len(scope["state"]["sent"])))


async def path(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": TEXT})
    await send({"type": "http.response.pathsend", "path": FILE})


async def pieces(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Two parts of a file, the second one first; the file stays the app's."""
    await send({"type": "http.response.start", "status": 200, "headers": TEXT})
    with opened() as file:
        half = os.fstat(file.fileno()).st_size // 2
        await send({"type": "http.response.zerocopysend", "file": file, "offset": half, "more_body": True})
        await send({"type": "http.response.zerocopysend", "file": file.fileno(), "offset": 0, "count": half})
        assert not file.closed


def asked_to_fail() -> bool:
    return Path("broken").exists()


def note_stop() -> None:
    with Path("stopped").open("a") as file:
        file.write(f"{os.getpid()}\n")


def opened() -> BinaryIO:
    return open(FILE, "rb")


async def answer(send: Any, text: str) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": TEXT})
    await send({"type": "http.response.body", "body": text.encode()})


HANDLERS = {
    "/who": who,
    "/length": length,
    "/gate": gate,
    "/after": after,
    "/told": told,
    "/flood": flood,
    "/sent": sent,
    "/path": path,
    "/pieces": pieces,
}
