"""An ASGI app that reads the whole body and answers with its length in bytes."""

from collections.abc import Awaitable, Callable
from typing import Any

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def asgi(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """ASGI 3 over HTTP. Pieces are counted as they come and not kept."""
    if scope["type"] != "http":
        raise RuntimeError(f"only http is served here, not {scope['type']}")
    length, more = 0, True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            return
        length += len(event.get("body", b""))
        more = event.get("more_body", False)
    answer = b"%d" % length
    fields = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": answer})
