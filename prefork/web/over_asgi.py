"""Run an App for an ASGI server: what `await app(scope, receive, send)` does."""

import asyncio
from typing import TYPE_CHECKING

from prefork.children.binding import track_if_used
from prefork.errors import Disconnected, ResponseError
from prefork.jobs import context
from prefork.settings import Settings
from prefork.web.asgi_exchange import AsgiExchange
from prefork.web.asgi_socket import AsgiSocketExchange
from prefork.web.asgi_types import Receive, Scope, Send
from prefork.web.ending import end_failed
from prefork.web.request import Request
from prefork.web.response import as_response

if TYPE_CHECKING:
    from prefork.web.app import App

_DEFAULTS = Settings()  # another server's settings are its own: what is ours of them has no source here


async def run(app: "App", scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one scope. Raises what makes a server cut the connection, when a response could not be completed."""
    match scope["type"]:
        case "http":
            await _answer(app, AsgiExchange(scope, receive, send))
        case "websocket":
            if (await receive())["type"] == "websocket.connect":
                await _answer(app, AsgiSocketExchange(scope, receive, send))
        case "lifespan":
            await _live(app, receive, send)
        case kind:
            raise ValueError(f"an App has no answer to the ASGI scope {kind!r}")


async def _live(app: "App", receive: Receive, send: Send) -> None:
    """The app's start-up and shutdown. An error of its start-up is told to the server, and raised for a test to see."""
    await receive()
    track_if_used()
    try:
        await app.startup()
    except Exception as error:
        await send({"type": "lifespan.startup.failed", "message": f"{type(error).__name__}: {error}"})
        raise
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await app.shutdown()
    await send({"type": "lifespan.shutdown.complete"})


async def _answer(app: "App", exchange: AsgiExchange) -> None:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(None) as limit:
            # As under prefork, whose client may have closed only its side: see Architecture, HTTP.
            exchange.on_leave = lambda: limit.reschedule(loop.time() + _DEFAULTS.disconnect_grace_seconds)
            await _handle(app, exchange)
            await exchange.flush()
    except (TimeoutError, Disconnected):
        pass  # the client has left, and who was answering it is told
    finally:
        await exchange.close()
    if exchange.aborted and not exchange.client_left:
        raise ResponseError(f"{exchange.method} {exchange.target.decode('latin-1')}: the response was cut; see the log")


async def _handle(app: "App", exchange: AsgiExchange) -> None:
    """Leave the exchange finished, failed or aborted. Raises nothing but CancelledError."""
    request = Request(exchange)
    if context.tracking:
        context.enter(request)
    try:
        route = app.find_below(request, exchange.root) if exchange.root else app.find(request)
        if exchange.has_body or route.max_body is not None:
            exchange.limit_body(_DEFAULTS.max_body if route.max_body is None else route.max_body)
        response = as_response(await app.run(request, route), route.handler)
        await response.send(exchange)
    except BaseException as error:
        end_failed(exchange, error, False, request)
