"""The App: routes, middleware, exception handlers and lifespan of one application."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from importlib import import_module
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

from prefork.children.memory.names import shared
from prefork.errors import Disconnected
from prefork.jobs import references
from prefork.jobs.hooks import on_offload_start, on_offload_stop
from prefork.jobs.options import Offload
from prefork.jobs.references import name_of
from prefork.web.failures import log_failure
from prefork.web.fallbacks import NOT_FOUND, UPGRADE_REQUIRED, not_allowed, options
from prefork.web.handlers import check_handler, endpoint, is_async
from prefork.web.lifespan import Hook, Lifespan
from prefork.web.offloaded import offloaded
from prefork.web.recovery import ExceptionHandlers, as_http_error, status_of
from prefork.web.request import Request
from prefork.web.response import Response, as_response
from prefork.web.routing import Route, Router, parse_pattern, split_path
from prefork.web.static import StaticFolder
from prefork.web.websocket import websocket_endpoint

if TYPE_CHECKING:
    from prefork.children.actors.proxy import Actor
    from prefork.children.memory.buffer import SharedBuffer
    from prefork.web.asgi_types import Receive, Scope, Send

CallNext = Callable[[Request], Awaitable[Response]]
Middleware = Callable[[Request, CallNext], Awaitable[Any]]
LifespanContext = Callable[["App"], AbstractAsyncContextManager[Any]]

H = TypeVar("H", bound=Callable[..., Any])


class App:
    """An application. `state` is a place for what handlers share; `lifespan` is a context manager around serving.

    A handler is `async def` (runs on the event loop) or `def` (runs in the thread pool) with one parameter, the
    request. It returns a Response, str, bytes, None (204) or anything msgspec encodes as JSON.
    """

    def __init__(self, lifespan: LifespanContext | None = None) -> None:
        self.state = SimpleNamespace()
        self._router = Router()
        self._exact = self._router.exact
        self._sockets = Router()
        self._mounts: list[tuple[tuple[str, ...], App]] = []  # the longest prefix first
        self._middleware: list[Middleware] = []  # the innermost first
        self._exception_handlers = ExceptionHandlers()
        self._offloaded: list[Callable[..., Any]] = []  # handlers that run as jobs
        self._actors: list[Actor] = []
        self._lifespan = lifespan
        self._on_startup: list[Hook] = []
        self._on_shutdown: list[Hook] = []
        self._running: list[tuple[asyncio.AbstractEventLoop, AsyncExitStack]] = []  # one of each start-up
        self._alone = (self,)

    def __repr__(self) -> str:
        return "an App"

    # -- defining

    def route(
        self,
        path: str,
        methods: Iterable[str] = ("GET",),
        *,
        max_body: int | None = None,
        offload: bool | Offload = False,
    ) -> Callable[[H], H]:
        """Serve `path` with the decorated handler. `max_body` in bytes replaces the setting for this route.

        With `offload`, the handler is a plain def, or a generator, that runs in an offloader: right for what computes.

        Parameters are whole segments: `{name}`, `{id:int}`, `{x:float}`, `{key:uuid}`, `{rest:path}`. GET answers
        HEAD too. Raises ValueError for a bad path or a route that exists, TypeError for what is no handler.
        """

        def add(handler: H) -> H:
            if offload:
                run = offloaded(handler, Offload() if offload is True else offload)
                self._offloaded.append(handler)
            else:
                run = endpoint(handler, "request")
            self._router.add(path, methods, Route(run, handler, max_body, path))
            return handler

        return add

    def get(self, path: str, *, max_body: int | None = None, offload: bool | Offload = False) -> Callable[[H], H]:
        """`route` for GET (and HEAD)."""
        return self.route(path, ("GET",), max_body=max_body, offload=offload)

    def post(self, path: str, *, max_body: int | None = None, offload: bool | Offload = False) -> Callable[[H], H]:
        """`route` for POST."""
        return self.route(path, ("POST",), max_body=max_body, offload=offload)

    def put(self, path: str, *, max_body: int | None = None, offload: bool | Offload = False) -> Callable[[H], H]:
        """`route` for PUT."""
        return self.route(path, ("PUT",), max_body=max_body, offload=offload)

    def patch(self, path: str, *, max_body: int | None = None, offload: bool | Offload = False) -> Callable[[H], H]:
        """`route` for PATCH."""
        return self.route(path, ("PATCH",), max_body=max_body, offload=offload)

    def delete(self, path: str, *, max_body: int | None = None, offload: bool | Offload = False) -> Callable[[H], H]:
        """`route` for DELETE."""
        return self.route(path, ("DELETE",), max_body=max_body, offload=offload)

    def websocket(self, path: str) -> Callable[[H], H]:
        """Serve WebSockets at `path` with the decorated handler: `async def chat(ws)`, called before `ws.accept()`.

        Paths are as in `route`; the same path may have routes too. Raises ValueError and TypeError as `route` does.
        """

        def add(handler: H) -> H:
            import_module("prefork.http.websocket_handshake")  # now, so that all workers share it
            self._sockets.add(path, ("GET",), Route(websocket_endpoint(handler), handler, path=path))
            return handler

        return add

    def mount(self, prefix: str, app: "App") -> None:
        """Let `app` serve every path below `prefix` that has no route here; it sees the path without the prefix.

        Raises ValueError for a bad or used prefix, TypeError for what is no App.
        """
        if not isinstance(app, App):
            raise TypeError(f"mount {prefix!r}: only an App can be mounted, not {type(app).__qualname__}")
        if self in app._family():
            raise ValueError(f"mount {prefix!r}: an App cannot be mounted within itself")
        pattern = parse_pattern(prefix)
        if pattern.names or (prefix != "/" and prefix.endswith("/")):
            raise ValueError(f"mount {prefix!r}: a prefix has no parameters and no slash at its end")
        segments = () if prefix == "/" else tuple(prefix[1:].split("/"))
        if any(segments == taken for taken, _ in self._mounts):
            raise ValueError(f"mount {prefix!r}: something is mounted there already")
        self._mounts.append((segments, app))
        self._mounts.sort(key=lambda mount: -len(mount[0]))

    def static(
        self,
        path: str,
        folder: str | os.PathLike[str],
        *,
        index: str | None = "index.html",
        cache_control: str | None = "no-cache",
        immutable: str | None = None,
    ) -> None:
        """Serve the files of a folder below `path`, as a mounted app would: routes win, middleware sees it.

        A relative folder is below the current directory. `index` is what a folder shows; None: nothing. Every file is
        sent with `cache_control`; one whose name the regular expression `immutable` finds something in, as a hash of
        the content, may be kept for a year. docs/static.md has the rest. Raises ValueError for what cannot be so.
        """
        try:
            files = StaticFolder(folder, index=index, cache_control=cache_control, immutable=immutable)
        except ValueError as error:
            raise ValueError(f"static {path!r}: {error}") from None
        site = App()
        site.get("/{file:path}")(files.handle)
        self.mount(path, site)

    def middleware(self, function: H) -> H:
        """Wrap every request, also those without a route: `async def m(request, call_next)` returns a response.

        `await call_next(request)` gives the Response. The first one added is the outermost. Raises TypeError.
        """
        check_handler(function, "request", "call_next")
        if not is_async(function):
            raise TypeError(f"middleware {name_of(function)} must be async def")
        self._middleware.insert(0, function)
        return function

    def exception_handler(self, kind: type[Exception] | int) -> Callable[[H], H]:
        """Answer an exception of a type, or every error that ends in a status, with `handler(request, error)`.

        What it returns gets the error's status unless it is a Response. Handlers for Exception and for 500 are the
        same: they get what no other handler takes, after its traceback was logged. Raises ValueError for a kind that
        has a handler, TypeError for what is no kind or no handler.
        """

        def add(handler: H) -> H:
            self._exception_handlers.add(kind, handler)
            return handler

        return add

    def on_startup(self, hook: H) -> H:
        """Run before a worker serves: `def` or `async def` without parameters. If it raises, the worker cannot boot."""
        check_handler(hook)
        self._on_startup.append(hook)
        return hook

    def on_shutdown(self, hook: H) -> H:
        """Run when a worker has served its last request. If it raises, that is logged and the others still run."""
        check_handler(hook)
        self._on_shutdown.append(hook)
        return hook

    def shared(self, name: str, size: int) -> "SharedBuffer":
        """See `prefork.children.shared`."""
        return shared(name, size)

    def on_offload_start(self, hook: H) -> H:
        """See `prefork.on_offload_start`."""
        return on_offload_start(hook)

    def on_offload_stop(self, hook: H) -> H:
        """See `prefork.on_offload_stop`."""
        return on_offload_stop(hook)

    def actor(self, cls: type[Any], /, *args: Any, **options: Any) -> "Actor":
        """An object `cls(*args)` in processes of its own, for all workers: see `prefork.children.declare`, which has
        the options too: `count`, `scope`, `timeout` and `mailbox`."""
        actor: Actor = import_module("prefork.children.actors.proxy").declare(cls, *args, **options)
        self._actors.append(actor)
        return actor

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """This app as ASGI: another server can run it, and another app hold it. Start-up and shutdown are the scope
        `lifespan`; where an outer app does not pass that on, let its own call `startup` and `shutdown`."""
        from prefork.web.over_asgi import run  # here, because prefork's own server has no use for it

        await run(self, scope, receive, send)

    # -- serving: apps/native.py calls these

    async def startup(self) -> None:
        """Start this app, then what is mounted in it. Raises what its hooks raise, after undoing what was started, and
        Unsendable for an offloaded handler that an offloader would not find."""
        for handler in (handler for app in self._family() for handler in app._offloaded):
            references.check(handler)
        for actor in (actor for app in self._family() for actor in app._actors):
            await actor.start()
        async with AsyncExitStack() as started:
            for app in self._family():
                context = None if app._lifespan is None else app._lifespan(app)
                lifespan = Lifespan(context, app._on_startup, app._on_shutdown)
                await lifespan.startup()
                started.push_async_callback(lifespan.shutdown)
            self._running.append((asyncio.get_running_loop(), started.pop_all()))

    async def shutdown(self) -> None:
        """Shut down in reverse order what the last start-up on this loop has started; other servers may run us too."""
        loop = asyncio.get_running_loop()
        latest = next((run for run in reversed(self._running) if run[0] is loop), None)
        if latest is not None:
            self._running.remove(latest)
            await latest[1].aclose()

    def find(self, request: Request) -> Route:
        """The route for a request; one that raises HTTPError(404 or 405) or answers OPTIONS if there is none."""
        exchange = request.exchange
        request._apps = self._alone
        if exchange.upgrades and exchange.asks_websocket:
            socket = self._search_socket(request, split_path(exchange.target))
            if socket is not None:
                return socket
        route = self._exact.get((exchange.method, exchange.target))
        if route is not None:
            return route
        if exchange.target == b"*":
            return options(self._all_methods())
        return self._search(request, exchange.method, split_path(exchange.target))

    def find_below(self, request: Request, root: str) -> Route:
        """As `find`, where `root`, a path without a slash at its end, is where another server has mounted this app."""
        exchange = request.exchange
        request._apps, request._mount_path = self._alone, root
        segments = split_path(exchange.target)[root.count("/") :] or [""]
        socket = self._search_socket(request, segments) if exchange.asks_websocket else None
        return socket or self._search(request, exchange.method, segments)

    async def run(self, request: Request, route: Route) -> Response | str:
        """Take a request through middleware, handler and exception handlers. Raises what none of them handles."""
        try:
            if self._middleware:
                call: CallNext = partial(self._answer, route)
                for middleware in self._middleware:
                    call = partial(_pass_through, middleware, call)
                return await call(request)
            result = await route.endpoint(request)
        except Exception as error:
            return await self._recover(request, error)
        if type(result) is str or type(result) is Response:
            return result
        return as_response(result, route.handler)

    async def _answer(self, route: Route, request: Request) -> Response:
        """What the innermost middleware calls: errors are answered here, so that middleware sees their responses."""
        try:
            return as_response(await route.endpoint(request), route.handler)
        except Exception as error:
            return await self._recover(request, error)

    async def _recover(self, request: Request, error: Exception) -> Response:
        if isinstance(error, Disconnected):
            raise error
        status = status_of(error)
        closest_first = [app._exception_handlers for app in reversed(request._apps)]
        found = next(filter(None, (handlers.by_type(error) for handlers in closest_first)), None)
        if found is None:
            found = next(filter(None, (handlers.by_status(status or 500) for handlers in closest_first)), None)
            if found is None:
                answer = as_http_error(error)
                if answer is not None:
                    return answer.response()
                raise error
            if status is None:
                log_failure(request, error)
        result = await found.endpoint(request, error)
        response = as_response(result, found.handler)
        if response is not result:
            response.status = status or 500
        return response

    def _search(self, request: Request, method: str, segments: list[str]) -> Route:
        allowed: set[str] = set()
        found = self._router.find(method, segments, allowed)
        if found is not None:
            request._path_params = found[1]
            return found[0]
        if self._sockets.methods and self._sockets.find("GET", segments, set()):
            if method in ("GET", "HEAD"):
                return UPGRADE_REQUIRED
            allowed.add("GET")
        if allowed:
            return options(allowed) if method == "OPTIONS" else not_allowed(allowed)
        for prefix, app in self._mounts:
            if tuple(segments[: len(prefix)]) == prefix:
                route = app._search(request, method, segments[len(prefix) :] or [""])
                return app._entered(route, prefix)
        return NOT_FOUND

    def _search_socket(self, request: Request, segments: list[str]) -> Route | None:
        """As `_search`, for WebSockets. None: what asks for one here gets the answer that others get."""
        found = self._sockets.find("GET", segments, set())
        if found is not None:
            request._path_params = found[1]
            return found[0]
        for prefix, app in self._mounts:
            if tuple(segments[: len(prefix)]) == prefix:
                route = app._search_socket(request, segments[len(prefix) :] or [""])
                return None if route is None else app._entered(route, prefix)
        return None

    def _entered(self, route: Route, prefix: tuple[str, ...]) -> Route:
        """A route of this app, as the app it is mounted in has it."""
        mounted_at = "".join("/" + segment for segment in prefix)
        return Route(partial(self._enter, route, mounted_at), route.handler, route.max_body, mounted_at + route.path)

    async def _enter(self, route: Route, prefix: str, request: Request) -> Response | str:
        """Run a route of this app, which is mounted at `prefix` of the request's app."""
        apps, mount_path = request._apps, request.mount_path
        request._apps, request._mount_path = (*apps, self), mount_path + prefix
        try:
            return await self.run(request, route)
        finally:
            request._apps, request._mount_path = apps, mount_path

    def mounted_at(self, path: str) -> "tuple[App, ...]":
        """The apps on the way to what is mounted at `path` below this one, this one first."""
        segments = tuple(path[1:].split("/")) if path else ()
        for prefix, app in self._mounts:
            if prefix and segments[: len(prefix)] == prefix:
                rest = "".join("/" + segment for segment in segments[len(prefix) :])
                return (self, *app.mounted_at(rest))
        return (self,)

    def _family(self) -> "list[App]":
        """This app and all that is mounted below it, each once."""
        family = {self: None}
        for _, app in self._mounts:
            family.update(dict.fromkeys(app._family()))
        return list(family)

    def _all_methods(self) -> set[str]:
        return {method for app in self._family() for method in app._router.methods}


async def _pass_through(middleware: Middleware, call: CallNext, request: Request) -> Response:
    return as_response(await middleware(request, call), middleware)
