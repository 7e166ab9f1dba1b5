"""A WSGI app behind a real service, loop and sockets, without a worker: what the tests of the adapter talk to."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from types import TracebackType
from typing import Any, TypeVar

import uvloop

from prefork.apps.wsgi import WsgiApplication
from prefork.http.connection import Connection
from prefork.http.service import Service
from prefork.settings import Settings
from tests.http.server import Flight
from tests.processes.client import Client, Reply
from tests.processes.patience import GUARD_SECONDS

T = TypeVar("T")


class WsgiServer:
    """Serves in a loop of its own, in a thread of its own; tests stay plain functions."""

    def __init__(self, app: Callable[..., Any], **settings: Any) -> None:
        self.settings = Settings(**settings)
        self.application = WsgiApplication(app, self.settings)
        self.flight = _Flight(self._tell)
        self._news = threading.Condition()
        self.address = ""
        self._clients: list[Client] = []
        self._thread = threading.Thread(target=self._run)
        self._started: Future[asyncio.AbstractEventLoop] = Future()
        self._faults: list[dict[str, Any]] = []

    def __enter__(self) -> "WsgiServer":
        self._thread.start()
        self.loop = self._started.result(GUARD_SECONDS)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(GUARD_SECONDS)
        for client in self._clients:
            client.close()
        assert not self._thread.is_alive()
        assert self._faults == []

    def client(self) -> Client:
        client = Client(self.address)
        self._clients.append(client)
        return client

    def asking(self, path: str = "/") -> Client:
        """A connection on which `path` was asked for."""
        client = self.client()
        client.send(path)
        return client

    def get(self, path: str = "/", fields: str = "") -> Reply:
        return self.client().get(path, fields)

    def post(self, body: bytes) -> Reply:
        return self.client().post("/", body)

    def exchange(self, request: bytes) -> bytes:
        """All that comes back on a connection of its own for these bytes, which make the server close."""
        client = self.client()
        client.send_raw(request)
        pieces = []
        while piece := client.receive_raw():
            pieces.append(piece)
        return b"".join(pieces)

    def wait_waiting(self, count: int) -> None:
        """Wait until so many requests wait for a thread."""
        self._wait(lambda: len(self.application._threads.waiting) == count)

    def wait_connections(self, count: int) -> None:
        """Wait until so many connections are left."""
        self._wait(lambda: len(self.flight.open) == count)

    def wait_paused(self) -> None:
        """Wait until a connection is not read any more."""

        async def look() -> bool:
            return any(
                isinstance(connection, Connection) and not connection._reading
                for connection in self._service.connections
            )

        deadline = time.monotonic() + GUARD_SECONDS
        while not self.on_loop(look()):  # it tells nobody
            assert time.monotonic() < deadline

    def _wait(self, fact: Callable[[], bool]) -> None:
        with self._news:
            assert self._news.wait_for(fact, GUARD_SECONDS)

    def _tell(self) -> None:
        with self._news:
            self._news.notify_all()

    def on_loop(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(GUARD_SECONDS)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve())
        except BaseException as error:
            if self._started.done():
                raise
            self._started.set_exception(error)

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self._faults.append(context))
        self._stop = asyncio.Event()
        await self.application.startup()
        threads = self.application._threads
        threads.submit = _telling(threads.submit, self._tell)  # type: ignore[method-assign]
        self._service = service = Service(self.application, self.settings, self.flight)
        server = await loop.create_server(service.connection, "127.0.0.1", 0)
        self.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._started.set_result(loop)
        self._tick()
        await self._stop.wait()
        server.close()
        service.cut()
        await self.application.shutdown()

    def _tick(self) -> None:
        """End what takes too long, as a worker does."""
        self._service.sweep()
        asyncio.get_running_loop().call_later(self._service.sweep_seconds, self._tick)


def _telling(function: Callable[..., T], tell: Callable[[], None]) -> Callable[..., T]:
    def call(*arguments: Any) -> T:
        result = function(*arguments)
        tell()
        return result

    return call


class _Flight(Flight):
    def __init__(self, tell: Callable[[], None]) -> None:
        super().__init__()
        self._tell = tell

    def closed(self, index: int) -> None:
        super().closed(index)
        self._tell()
