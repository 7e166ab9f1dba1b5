"""Actors of apps that are no App: an ASGI app, and a WSGI app, whose threads call by `blocking`."""

import os
from collections.abc import Callable, Iterable
from typing import Any

from prefork import children


class Counter:
    def __init__(self) -> None:
        self.count = 0

    def add(self) -> str:
        self.count += 1
        return f"{self.count} in {os.getpid()}"


counter = children.declare(Counter)


async def asgi(scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
    if scope["type"] == "lifespan":
        raise NotImplementedError
    body = (await counter.add()).encode()
    length = str(len(body)).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
    await send({"type": "http.response.body", "body": body})


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    body = counter.blocking.add().encode()
    start_response("200 OK", [("content-length", str(len(body)))])
    return [body]
