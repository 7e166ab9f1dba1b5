"""The same 13 bytes of text/plain behind four interfaces: prefork's own, ASGI, WSGI, RSGI."""

from collections.abc import Awaitable, Callable
from typing import Any

TEXT = "Hello, world!"
BODY = TEXT.encode()
TYPE = "text/plain; charset=utf-8"
START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", TYPE.encode()), (b"content-length", b"%d" % len(BODY))],
}
END = {"type": "http.response.body", "body": BODY}
WSGI_FIELDS = [("Content-Type", TYPE), ("Content-Length", str(len(BODY)))]
RSGI_FIELDS = [("content-type", TYPE)]


async def handler(request: object) -> str:
    """prefork's native interface: a str is answered as text/plain."""
    return TEXT


async def asgi(scope: dict[str, Any], receive: object, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    """ASGI 3 over HTTP; lifespan and WebSocket are refused, as the specification allows."""
    if scope["type"] != "http":
        raise RuntimeError(f"only http is served here, not {scope['type']}")
    await send(START)
    await send(END)


def wsgi(environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], object]) -> list[bytes]:
    """WSGI. The list is new for each request: servers may change it."""
    start_response("200 OK", WSGI_FIELDS)
    return [BODY]


async def rsgi(scope: object, protocol: Any) -> None:
    """RSGI, granian's own interface."""
    protocol.response_bytes(200, RSGI_FIELDS, BODY)
