"""Run prefork's own kinds of app: an App, or a plain handler. This is the hot path of every native request."""

from typing import Any

from prefork.jobs import context
from prefork.settings import Settings
from prefork.web import offloaded
from prefork.web.app import App
from prefork.web.ending import end_failed
from prefork.web.exchange import Exchange
from prefork.web.handlers import endpoint
from prefork.web.request import Request
from prefork.web.response import TEXT, as_response


class NativeApplication:
    """What both kinds share. The threads for plain `def` handlers are those of the server that runs it."""

    def __init__(self, settings: Settings) -> None:
        self._max_body = settings.max_body
        self._debug = settings.debug

    async def startup(self) -> None:
        """Nothing to start."""

    async def shutdown(self) -> None:
        """Nothing to stop."""

    def offloader(self) -> None:
        """This process is an offloader, forked from the one that loaded the app."""


class HandlerApplication(NativeApplication):
    """A plain handler: every request goes to it."""

    def __init__(self, handler: Any, settings: Settings) -> None:
        super().__init__(settings)
        self._handler = handler
        self._endpoint = endpoint(handler, "request")

    def __repr__(self) -> str:
        return f"a handler, {getattr(self._handler, '__qualname__', type(self._handler).__qualname__)}"

    async def __call__(self, exchange: Exchange) -> None:
        request = Request(exchange)
        if context.tracking:
            context.enter(request)
        try:
            if exchange.has_body:
                exchange.limit_body(self._max_body)
            result = await self._endpoint(request)
            if type(result) is str:
                exchange.respond(200, TEXT, result.encode())
                return
            response = as_response(result, self._handler)
            if response.streams:
                await response.send(exchange)
            else:
                exchange.respond(response.status, response.fields, response.body)
        except BaseException as error:
            end_failed(exchange, error, self._debug, request)


class AppApplication(NativeApplication):
    """An App: each request goes to the route it matches."""

    def __init__(self, app: App, settings: Settings) -> None:
        super().__init__(settings)
        self._app = app
        self._find = app.find
        self._run = app.run

    def __repr__(self) -> str:
        return repr(self._app)

    async def startup(self) -> None:
        await self._app.startup()

    async def shutdown(self) -> None:
        await self._app.shutdown()

    def offloader(self) -> None:
        offloaded.root = self._app

    async def __call__(self, exchange: Exchange) -> None:
        request = Request(exchange)
        if context.tracking:
            context.enter(request)
        try:
            route = self._find(request)
            exchange.route = route.path
            if exchange.has_body:
                exchange.limit_body(self._max_body if route.max_body is None else route.max_body)
            response = await self._run(request, route)
            if isinstance(response, str):
                exchange.respond(200, TEXT, response.encode())
            elif response.streams:
                await response.send(exchange)
            else:
                exchange.respond(response.status, response.fields, response.body)
        except BaseException as error:
            end_failed(exchange, error, self._debug, request)
