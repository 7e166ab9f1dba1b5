"""A Server on a thread of its own, for tests that have no event loop, or another one."""

import asyncio
import contextlib
import threading
from concurrent.futures import Future
from typing import Any, NamedTuple

import uvloop

from prefork.processes.addressed import Addressed
from prefork.processes.server import Server


class _Started(NamedTuple):
    loop: asyncio.AbstractEventLoop
    leave: asyncio.Event
    addresses: list[str]


class ThreadedServer(Addressed):
    """Serves an app from its making to `stop`. `url` and `addresses` tell where; see `prefork.Server`."""

    def __init__(self, app: object, **settings: Any) -> None:
        """Raises what making and starting a Server raises."""
        self._server = Server(app, **settings)
        self._started: Future[_Started] = Future()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="prefork-server", daemon=True)
        self._thread.start()
        self.addresses = self._started.result().addresses

    def __repr__(self) -> str:
        return f"<ThreadedServer {', '.join(self.addresses)}>"

    def stop(self) -> None:
        """As `Server.stop`, and wait for it. Does nothing the second time. Raises what it raises."""
        started = self._started.result()
        with contextlib.suppress(RuntimeError):  # its loop is closed: it has ended
            started.loop.call_soon_threadsafe(started.leave.set)
        self._thread.join()
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve())
        except BaseException as error:
            if self._started.done():
                self._failure = error
            else:
                self._started.set_exception(error)

    async def _serve(self) -> None:
        leave = asyncio.Event()
        async with self._server as server:
            self._started.set_result(_Started(asyncio.get_running_loop(), leave, server.addresses))
            await leave.wait()
