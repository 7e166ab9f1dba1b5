"""Serve folders in front of an app of any kind: the setting `static`."""

from collections.abc import Coroutine
from typing import Any, Final, NamedTuple
from urllib.parse import unquote_to_bytes

from prefork.apps.application import Application
from prefork.errors import UsageError
from prefork.http.exchange import Exchange
from prefork.settings import Settings
from prefork.settings.items import parse_mount
from prefork.web.ending import end_failed
from prefork.web.http_error import HTTPError
from prefork.web.response import Response
from prefork.web.routing import allow_field
from prefork.web.static import StaticFolder, raw_segments

_ALLOW: Final = allow_field(["GET"])


def with_static(app: Application, settings: Settings) -> Application:
    """The app, with the folders of the setting before it, if there are any. Raises UsageError as StaticApplication."""
    return StaticApplication(app, settings) if settings.static else app


class _Mount(NamedTuple):
    prefix: list[bytes]  # the segments of the path, decoded
    files: StaticFolder


class StaticApplication:
    """An app with folders before it: what is below their paths never gets to the app.

    But for a folder at the root: what it does not have is the app's, which would never be asked otherwise.
    """

    def __init__(self, app: Application, settings: Settings) -> None:
        """Raises UsageError for a folder that does not exist, or a path that is there twice."""
        self._app = app
        self._debug = settings.debug
        self._mounts: list[_Mount] = []
        for item in settings.static:
            self._add(item)
        self._mounts.sort(key=lambda mount: -len(mount.prefix))
        # Most requests are told apart by these first bytes; a percent sign may hide them.
        self._starts = tuple(b"/" + b"/".join(mount.prefix) for mount in self._mounts)

    def __repr__(self) -> str:
        return repr(self._app)

    def _add(self, item: str) -> None:
        path, folder = parse_mount(item).path, parse_mount(item).folder
        prefix = path.encode().split(b"/")[1:]
        if any(prefix == mount.prefix for mount in self._mounts):
            raise UsageError(f"static {item!r}: another folder is served at {path or '/'}")
        try:
            self._mounts.append(_Mount(prefix, StaticFolder(folder)))
        except ValueError as error:
            raise UsageError(f"static {item!r}: {error}") from None

    async def startup(self) -> None:
        await self._app.startup()

    async def shutdown(self) -> None:
        await self._app.shutdown()

    def offloader(self) -> None:
        self._app.offloader()

    # No coroutine of its own: what is for the app costs one comparison.
    def __call__(self, exchange: Exchange) -> Coroutine[Any, Any, None]:
        target = exchange.target
        if target.startswith(self._starts) or b"%" in target:
            segments = raw_segments(target)
            for mount in self._mounts:
                depth = len(mount.prefix)
                if [unquote_to_bytes(segment) for segment in segments[:depth]] == mount.prefix:
                    return self._serve(mount, segments[depth:], exchange)
        return self._app(exchange)

    async def _serve(self, mount: _Mount, segments: list[bytes], exchange: Exchange) -> None:
        try:
            response = await self._respond(mount, segments, exchange)
            if response is not None:
                if response.streams:
                    await response.send(exchange)
                else:
                    exchange.respond(response.status, response.fields, response.body)
                return
        except BaseException as error:
            end_failed(exchange, error, self._debug)
            return
        await self._app(exchange)

    async def _respond(self, mount: _Mount, segments: list[bytes], exchange: Exchange) -> Response | None:
        """None for what the app is asked instead."""
        at_root = not mount.prefix
        if exchange.method in ("GET", "HEAD"):
            try:
                return await mount.files.respond(exchange, segments)
            except HTTPError as error:
                return None if at_root else error.response()
        if at_root:
            return None
        if exchange.method == "OPTIONS":
            return Response(status=204, headers={"allow": _ALLOW})
        return HTTPError(405, headers={"allow": _ALLOW}).response()
