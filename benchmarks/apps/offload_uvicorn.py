"""The mixed load on any ASGI server: the same two endpoints, with a ProcessPoolExecutor of one process a worker."""

import asyncio
import multiprocessing
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from offload_jobs import spin

NICE = 5  # prefork's default
TYPE = (b"content-type", b"text/plain; charset=utf-8")

Send = Callable[[dict[str, Any]], Awaitable[None]]

pools: list[ProcessPoolExecutor] = []


async def app(scope: dict[str, Any], receive: Callable[[], Awaitable[dict[str, Any]]], send: Send) -> None:
    """Without a framework, so that none is measured."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["path"] == "/light":
        await answer(send, b"Hello, world!")
    else:
        result = await asyncio.get_running_loop().run_in_executor(pools[0], spin)
        await answer(send, result.encode())


async def answer(send: Send, body: bytes) -> None:
    """200 with a text."""
    headers = [TYPE, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def lifespan(receive: Callable[[], Awaitable[dict[str, Any]]], send: Send) -> None:
    """A pool from the worker's start to its end."""
    await receive()
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(max_workers=1, mp_context=context, initializer=os.nice, initargs=(NICE,)) as pool:
        pools.append(pool)
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})
