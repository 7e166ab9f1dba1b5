"""An ASGI app that tells what it was told of its client; `/gate` first waits at the gate, `/large` is a long answer."""

import json
from typing import Any

from faults import pass_gate  # type: ignore[import-not-found]  # a neighbour of this app

LARGE = b"0123456789abcdef" * 2**20  # 16 MiB: more than the kernel keeps for a client that does not read


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    if scope["path"] == "/gate":
        await pass_gate()
    told = {key: scope[key] for key in ("client", "server", "scheme")}
    told["tls"] = scope["extensions"].get("tls")
    told["headers"] = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    body = LARGE if scope["path"] == "/large" else json.dumps(told).encode()
    length = str(len(body)).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
    await send({"type": "http.response.body", "body": body})
