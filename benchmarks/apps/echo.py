"""An ASGI app that sends every WebSocket message back as it came."""

from collections.abc import Awaitable, Callable
from typing import Any

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def asgi(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """ASGI 3 over WebSocket, text only; lifespan and HTTP are refused, as the specification allows."""
    if scope["type"] != "websocket":
        raise RuntimeError(f"only websocket is served here, not {scope['type']}")
    await receive()  # websocket.connect
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": event["text"]})
