"""The same 13 bytes of text/plain behind three interfaces: prefork's own, ASGI, RSGI."""

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


async def rsgi(scope: object, protocol: Any) -> None:
    """RSGI, granian's own interface."""
    protocol.response_bytes(200, RSGI_FIELDS, BODY)
