"""Other people's servers and clients of ASGI apps, for tests that run an App with them."""

import asyncio
import os
import socket
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import hypercorn.asyncio
import hypercorn.config
import uvicorn

from tests.processes.patience import GUARD_SECONDS

__all__ = ["TestClient", "get", "hypercorn_serving", "uvicorn_serving"]

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Starlette is about to move to another client than httpx
    from starlette.testclient import TestClient


@contextmanager
def uvicorn_serving(app: Any, **options: Any) -> Iterator[str]:
    """Uvicorn in a thread; its URL. A failing start-up raises RuntimeError."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="on", **options))

        def run() -> None:
            with suppress(SystemExit):  # it could not start
                server.run([listener])

        thread = threading.Thread(target=run)
        thread.start()
        try:
            while not server.started and thread.is_alive():
                thread.join(0.01)
            if not server.started:
                raise RuntimeError("uvicorn did not start")
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(GUARD_SECONDS)
            assert not thread.is_alive()


@contextmanager
def hypercorn_serving(app: Any) -> Iterator[str]:
    """Hypercorn in a thread, with a loop of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = hypercorn.config.Config()
        config.bind = [f"fd://{os.dup(listener.fileno())}"]
        config.accesslog = config.errorlog = None
        loop = asyncio.new_event_loop()
        stop = asyncio.Event()
        ready = threading.Event()

        async def main() -> None:
            ready.set()
            await hypercorn.asyncio.serve(app, config, shutdown_trigger=stop.wait)

        def run() -> None:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.run(main())

        thread = threading.Thread(target=run)
        thread.start()
        ready.wait(GUARD_SECONDS)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join(GUARD_SECONDS)
            assert not thread.is_alive()


async def get(url: str, **more: Any) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as http:
        return await http.get(url, **more)
