"""Run an ASGI app: a scope for each request, and its messages turned into an exchange."""

import logging
from importlib import import_module
from typing import Any, Final
from urllib.parse import unquote

from prefork.apps.asgi_http import HttpCycle
from prefork.apps.asgi_websocket import run_websocket
from prefork.apps.lifespan import AsgiLifespan
from prefork.http.exchange import Exchange
from prefork.jobs import context
from prefork.settings import Settings
from prefork.web.asgi_types import AsgiApp
from prefork.web.ending import end_failed
from prefork.web.request import Request

VERSIONS: Final = {"version": "3.0", "spec_version": "2.4"}  # with 2.4, send() raises once the client has left
EXTENSIONS: Final[dict[str, dict[str, Any]]] = {
    "http.response.pathsend": {},
    "http.response.zerocopysend": {},
    "http.response.early_hint": {},
}

_log = logging.getLogger("prefork.app")


class AsgiApplication:
    """An ASGI 3 app. `state` is what its lifespan put there; each request gets a copy."""

    def __init__(self, app: AsgiApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._max_body = settings.max_body
        self._debug = settings.debug
        self._root_path = settings.root_path.rstrip("/")
        self._lifespan = AsgiLifespan(app, settings.lifespan)
        self._state: dict[str, Any] = {}
        import_module("prefork.http.websocket_handshake")  # now, so that all workers share it

    def __repr__(self) -> str:
        return f"an ASGI app, {getattr(self._app, '__qualname__', type(self._app).__qualname__)}"

    async def startup(self) -> None:
        """Raises BootError with the app's own words when it cannot start, and what it raises."""
        self._state = await self._lifespan.startup()

    async def shutdown(self) -> None:
        await self._lifespan.shutdown()

    def offloader(self) -> None:
        """This process is an offloader, forked from the one that loaded the app."""

    async def __call__(self, exchange: Exchange) -> None:
        if context.tracking:
            context.enter(Request(exchange))
        try:
            if exchange.upgrades and exchange.asks_websocket:
                await run_websocket(self._app, self.scope(exchange), exchange)
                return
            if exchange.has_body:
                exchange.limit_body(self._max_body)
            scope = self.scope(exchange)
            cycle = HttpCycle(exchange, scope)
            try:
                await self._app(scope, cycle.receive, cycle.send)
            except Exception as error:
                if not cycle.broken_off:
                    raise
                _log.debug("the app broke off", exc_info=error)
                if not exchange.finished:
                    exchange.abort()
            if not exchange.finished:
                cycle.refuse_to_end()
        except BaseException as error:
            end_failed(exchange, error, self._debug)

    def scope(self, exchange: Exchange) -> dict[str, Any]:
        """The connection scope of a request. Its path begins with the root path, as the specification has it."""
        raw_path, _, query = exchange.target.partition(b"?")
        path = raw_path.decode("ascii")
        if "%" in path:
            path = unquote(path)
        peer = exchange.peer
        extensions = EXTENSIONS.copy()
        if exchange.takes_trailers:
            extensions["http.response.trailers"] = {}
        if peer.tls is not None:
            extensions["tls"] = peer.tls.as_extension()
        return {
            "type": "http",
            "asgi": VERSIONS,
            "http_version": "1.1" if exchange.http_minor else "1.0",
            "server": peer.server,
            "client": peer.client,
            "scheme": peer.scheme,
            "method": exchange.method,
            "root_path": self._root_path,
            "path": self._root_path + path if self._root_path else path,
            "raw_path": raw_path,
            "query_string": query,
            "headers": exchange.fields,
            "state": self._state.copy() if self._state else {},
            "extensions": extensions,
        }
