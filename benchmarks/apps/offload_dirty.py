"""gunicorn's dirty arbiter as a pool: the scenarios run inside an ASGI worker, GET /SCENARIO/WAY/SECONDS starts one.

Its messages know no arrays: they travel as bytes here, which costs each side one copy more.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import numpy
import offload_jobs
from gunicorn.dirty import DirtyApp, get_dirty_client
from gunicorn.dirty.client import DirtyClient, get_dirty_socket_path
from gunicorn.dirty.errors import DirtyWorkerError
from offload_scenarios import SCENARIOS, Pool

APP = "offload_dirty:Jobs"


class Jobs(DirtyApp):  # type: ignore[misc]
    """What runs in the dirty worker: the jobs by their names."""

    def __call__(self, action: str, *arguments: Any, **options: Any) -> Any:
        """Run one job."""
        return packed(getattr(offload_jobs, action)(*(unpacked(argument) for argument in arguments)))


def packed(value: Any) -> Any:
    """An array as bytes, anything else as it is."""
    return value.tobytes() if isinstance(value, numpy.ndarray) else value


def unpacked(value: Any) -> Any:
    """Bytes as an array, anything else as it is."""
    return numpy.frombuffer(value) if isinstance(value, bytes) else value


idle: list[DirtyClient] = []  # a client has one job under way; its own keeping would open a connection for each task


async def awaited(job: Callable[..., Any], *arguments: Any) -> Any:
    """Its asynchronous interface."""
    client = idle.pop() if idle else DirtyClient(get_dirty_socket_path())
    try:
        return unpacked(await client.execute_async(APP, job.__name__, *map(packed, arguments)))
    finally:
        idle.append(client)


async def waited_for(job: Callable[..., Any], *arguments: Any) -> Any:
    """Its interface for synchronous workers, which blocks."""
    return unpacked(get_dirty_client().execute(APP, job.__name__, *map(packed, arguments)))


async def asgi(scope: dict[str, Any], receive: object, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    """Run the scenario that the path names, and answer its lines."""
    if scope["type"] != "http":
        raise RuntimeError(f"only http is served here, not {scope['type']}")
    scenario, way, seconds = scope["path"].strip("/").split("/")
    try:
        pool = Pool(awaited if way == "asyncio" else waited_for, (DirtyWorkerError,))
        status, lines = 200, await SCENARIOS[scenario](pool, float(seconds))
    except Exception as error:  # the harness prints it
        status, lines = 500, [{"error": repr(error)}]
    body = "".join(json.dumps(line) + "\n" for line in lines).encode()
    headers = [(b"content-type", b"application/jsonl"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
