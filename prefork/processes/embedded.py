"""What runs between a Server's start and its stop: it accepts, serves, and leaves nothing behind on the loop."""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from contextvars import copy_context
from functools import partial
from typing import Any, Final

from prefork.apps.interface import as_application
from prefork.apps.static import with_static
from prefork.children.binding import REQUEST
from prefork.children.home import choose
from prefork.children.thread_pool import Threads, own
from prefork.errors import UsageError
from prefork.http.access import AccessLog
from prefork.http.arrival import Arrivals
from prefork.http.service import Service
from prefork.jobs import sharing
from prefork.metrics import ours
from prefork.processes.accepting import Acceptor
from prefork.processes.no_recorder import NoRecorder
from prefork.settings import Settings
from prefork.system.lines import LineFile
from prefork.system.listeners import open_listeners
from prefork.system.tls import Certificates

END_SECONDS: Final = 2.0  # for handlers that were cancelled, and then for the app's shutdown

_log = logging.getLogger("prefork.server")


class Embedded:
    """One run of a Server. Made on its loop; opens its sockets at once."""

    def __init__(self, app: object, settings: Settings, chosen: Settings | None) -> None:
        """`chosen`: the settings for offload and children, if some were. Raises UsageError, BindError."""
        self._loop = asyncio.get_running_loop()
        self._settings = settings
        try:
            self._app = with_static(as_application(app, settings), settings)
        except TypeError as error:
            raise UsageError(f"Server({type(app).__qualname__}): {error}") from None
        certificates = Certificates(settings) if settings.tls_cert else None
        self._listeners = open_listeners(settings.bind, settings.backlog, False, "https" if certificates else "http")
        try:
            lost = ours.lost_lines.labels("access")
            self._lines = LineFile(settings.access_log_file, lost.inc) if settings.access_log else None
        except UsageError:
            self._close_listeners()
            raise
        self.addresses = [listener.name for listener in self._listeners]
        self._sharing = sharing.enter(chosen)
        if self._sharing.servers == 1:
            self._sharing.on_last = choose(chosen)
        wait, grace = settings.children_wait_seconds, settings.children_grace_seconds
        self._threads = Threads(self._loop, settings.threads, wait, grace, "prefork-handler")
        self._context = copy_context()  # as it is where the server starts: what handlers see of it
        self._context.run(own.set, self._threads)
        self._service = Service(self._app.__call__, settings, NoRecorder(), self._access_log())
        self._service.create_task = partial(self._create_task)
        self._arrivals = Arrivals(self._service, settings, certificates) if Arrivals.needed(settings) else None
        self._requests: set[asyncio.Task[Any]] = set()
        self._started = False
        self._changed = asyncio.Event()  # something ended that `stop` may wait for
        self._acceptor = Acceptor(
            self._listeners, self._connect, self._has_room, _log, self._context, self._changed.set
        )
        self._timer = self._loop.call_later(self._service.sweep_seconds, self._tick)

    def _access_log(self) -> AccessLog | None:
        if self._lines is None:
            return None
        json = self._settings.log_format == "json"
        return AccessLog(self._lines.add, {"role": "server", "pid": os.getpid()} if json else f"server [{os.getpid()}]")

    async def start(self) -> None:
        """Run the app's start-up, then accept. Raises what it raises; nothing is left open then."""
        async with AsyncExitStack() as failing:
            failing.push_async_callback(self._release)
            failing.push_async_callback(self._threads.close)
            await self._in_context(self._app.startup())
            failing.pop_all()
        self._acceptor.start()
        self._started = True

    def check_stop(self) -> None:
        """Raise RuntimeError where `stop` could not be waited for."""
        if not self._started:
            raise RuntimeError("this Server still starts: cancel that")
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError("this Server runs on another event loop")
        if asyncio.current_task() in self._requests:
            raise RuntimeError("a handler cannot wait for the end of its own server: make a task of stop()")

    async def stop(self) -> None:
        """See Server.stop."""
        self._stop_accepting()
        self._service.on_empty = self._changed.set
        self._service.drain(None)
        if self._arrivals is not None:
            self._arrivals.stop()
        async with AsyncExitStack() as leaving:  # each of them whatever becomes of the one before; the last comes first
            leaving.push_async_callback(self._release)
            leaving.push_async_callback(self._threads.close)
            leaving.push_async_callback(self._shut_down)
            leaving.push_async_callback(self._cut)
            await self._wait(self._settings.drain_seconds, jobs=True)

    # -- connections

    def _has_room(self) -> bool:
        return len(self._service.connections) + len(self._acceptor.arriving) < self._settings.max_connections

    async def _connect(self, end: socket.socket, index: int) -> None:
        try:
            if self._arrivals is None:
                await self._loop.connect_accepted_socket(lambda: self._service.connection(index), end)
            else:
                await self._arrivals.receive(end, index)
        except asyncio.CancelledError:
            end.close()
            raise
        except OSError as error:
            end.close()
            _log.debug("a connection was gone before it was opened: %s", error)

    def _stop_accepting(self) -> None:
        """Take what the kernel holds for us, then listen no more."""
        self._acceptor.stop()
        for listener in self._listeners:
            listener.unlink()
            with contextlib.suppress(OSError):  # a sandbox may forbid it
                listener.refuse()
        self._acceptor.take_waiting()
        for listener in self._listeners:
            listener.close()

    def _tick(self) -> None:
        self._timer = self._loop.call_later(self._service.sweep_seconds, self._tick)
        self._service.sweep()
        if self._arrivals is not None:
            self._arrivals.tick(self._loop.time())
        if self._lines is not None:
            self._lines.flush()
        self._acceptor.tick()

    # -- requests

    def _create_task(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = self._loop.create_task(work, name=REQUEST, context=self._context.copy())
        self._requests.add(task)
        task.add_done_callback(self._answered)
        return task

    def _answered(self, task: "asyncio.Task[Any]") -> None:
        self._requests.discard(task)
        self._changed.set()

    async def _in_context(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a hook of the app where it finds this server's threads."""
        await self._loop.create_task(work, context=self._context.copy())

    # -- leaving

    async def _wait(self, seconds: float, jobs: bool) -> bool:
        """Wait until no request is in progress, nor, with `jobs`, what requests have started with `offload.start`.
        False when it takes longer than that."""
        try:
            async with asyncio.timeout(seconds):
                while self._busy(jobs):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def _busy(self, jobs: bool) -> bool:
        pool = self._sharing.pool if jobs else None
        if pool is not None and pool.jobs:
            pool.on_empty = self._changed.set
            return True
        return bool(self._service.connections or self._acceptor.arriving or self._requests)

    async def _cut(self) -> None:
        """End what is left. Its handlers are cancelled."""
        self._service.cut()
        for task in (*self._requests, *self._acceptor.arriving):
            task.cancel()
        if not await self._wait(END_SECONDS, jobs=False):
            _log.warning("%d handlers go on although they were cancelled", len(self._requests))

    async def _shut_down(self) -> None:
        try:
            async with asyncio.timeout(END_SECONDS):
                await self._in_context(self._app.shutdown())
        except TimeoutError:
            _log.warning("the app's shutdown did not end within %g s", END_SECONDS)
        except Exception:
            _log.exception("the app's shutdown failed")

    async def _release(self) -> None:
        """Close whatever is open."""
        self._timer.cancel()
        self._close_listeners()
        if self._lines is not None:
            self._lines.close(END_SECONDS)
        await sharing.leave(self._sharing)

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            listener.unlink()
            listener.close()
