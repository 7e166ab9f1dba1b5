"""What blocks in threads of a worker, under two kinds of app: `app`, for ASGI, and `native`."""

import asyncio
import os
import socket
from typing import Any

from prefork import App, Request, children

native = App()


def wait_at_gate() -> str:
    with socket.socket(socket.AF_UNIX) as end:
        end.connect("gate")
        end.recv(1)
    return str(os.getpid())


@native.get("/gate")
async def gate(request: Request) -> str:
    return await children.thread(wait_at_gate)


@native.get("/asyncio")
async def by_asyncio(request: Request) -> str:
    """In the same threads, if they are the same."""
    return await asyncio.to_thread(wait_at_gate)


@native.get("/def")
def by_def(request: Request) -> str:
    return wait_at_gate()


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    waiting = children.thread if scope["path"] == "/gate" else asyncio.to_thread
    text = await waiting(wait_at_gate)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(text))]})
    await send({"type": "http.response.body", "body": text.encode()})
