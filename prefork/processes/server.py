"""A server on an event loop that runs already: for tests, notebooks, and programs that have a loop of their own.

One process, no forks, no signal handlers. `processes/embedded.py` is what runs between its start and its stop.
"""

import asyncio
import re
from types import TracebackType
from typing import Any, Final, Self

from prefork.errors import UsageError
from prefork.jobs import sharing
from prefork.processes.addressed import Addressed
from prefork.processes.embedded import Embedded
from prefork.settings import SETTINGS, Settings, load

HOST: Final = "127.0.0.1"
_GROUPS_OF_A_TREE: Final = ("processes", "lifecycle", "operations", "system", "development")
_NOT_OF_A_TREE: Final = ("drain_seconds", "debug")
_OTHERS: Final = ("app_dir", "log_file", "log_level", "ready_fd")
NOT_HERE: Final = {
    name
    for name, setting in SETTINGS.items()
    if name in _OTHERS or (setting.group in _GROUPS_OF_A_TREE and name not in _NOT_OF_A_TREE)
}


_SHARED: Final = re.compile("offload_|children_|max_children")  # settings of what the servers of a loop share


class Server(Addressed):
    """`async with Server(app) as server:` serves `app` at `server.url` on the running loop.

    `app` is an App, a handler, an ASGI or a WSGI app. Port 0, the default, takes a free one. `settings` are those of
    the command that have a meaning without its processes; variables and files do not count. `bind` may be given instead
    of `host` and `port`, for a Unix socket or several addresses. Plain `def` handlers run in threads of this server's
    own (`threads`); the loop's default executor stays as it is.

    Raises UsageError for a setting that is wrong or not for here, and for what is no app.
    """

    def __init__(self, app: object, *, host: str | None = None, port: int | None = None, **settings: Any) -> None:
        if isinstance(app, str):
            raise UsageError(f"Server takes the app itself, not the target {app!r}")
        for name in settings:
            if name in NOT_HERE:
                raise UsageError(f"{name} is for a tree of processes, and a Server is one process: see prefork.serve")
        if "bind" not in settings:
            host, port = HOST if host is None else host, 0 if port is None else port
            settings["bind"] = [f"[{host}]:{port}" if ":" in host else f"{host}:{port}"]
        elif host is not None or port is not None:
            raise UsageError("give a Server either host and port, or bind")
        self._settings: Settings = load(settings, {}, None).settings
        self._chosen = sharing.chosen({name: settings[name] for name in settings if _SHARED.match(name)})
        self._app = app
        self._embedded: Embedded | None = None
        self._stopped: asyncio.Event | None = None  # of the last stop

    def __repr__(self) -> str:
        return f"<Server {', '.join(self.addresses) if self._embedded else 'stopped'}>"

    async def start(self) -> None:
        """Bind, run the app's start-up, serve. Raises BindError, what the app's start-up raises (nothing is left open
        then), and RuntimeError when it runs already."""
        if self._embedded is not None:
            raise RuntimeError("this Server runs already")
        embedded = self._embedded = Embedded(self._app, self._settings, self._chosen)
        try:
            await embedded.start()
        except BaseException:
            self._embedded = None
            raise

    async def stop(self) -> None:
        """Accept no more, let requests in progress finish within `drain_seconds`, cut what is left, run the app's
        shutdown, which has 2 s and whose errors are logged. Does nothing when it does not run; waits for a stop that is
        in progress. It can be started again. Raises RuntimeError while it starts, on another loop, and in a
        handler of its own."""
        if self._embedded is None:
            if self._stopped is not None:
                await self._stopped.wait()
            return
        self._embedded.check_stop()
        embedded, self._embedded = self._embedded, None
        stopped = self._stopped = asyncio.Event()
        try:
            await embedded.stop()
        finally:
            stopped.set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def addresses(self) -> list[str]:
        """Where it listens. Raises RuntimeError when it does not run."""
        if self._embedded is None:
            raise RuntimeError("this Server does not run")
        return self._embedded.addresses
