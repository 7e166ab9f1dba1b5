"""An app with actors. `/call/NAME` calls a method of the one that all workers share, and tells what came of it as JSON.

`?args=[…]` are its arguments; `?actor=hasty` asks one with a short deadline, `?actor=own` the worker's own. A file in
the working folder tells the class how to start: `actor-fails`, `actor-waits`; or to end: `actor-lingers`.
"""

import asyncio
import ctypes
import json
import logging
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from typing import Any

from prefork import App, Request, StreamingResponse, children, offload
from prefork.children import Actor
from prefork.errors import OffloadError

log = logging.getLogger("shop.actors")

MAILBOX = 24


def wait_at_gate() -> None:
    with socket.socket(socket.AF_UNIX) as end:
        end.connect("gate")
        end.recv(1)


class Model:
    """Holds a number."""

    def __init__(self, number: int) -> None:
        if os.path.exists("actor-fails"):
            raise RuntimeError("no weights on purpose")
        if os.path.exists("actor-waits"):
            wait_at_gate()
        self.number = number
        self.kept: list[Any] = []

    def pid(self) -> int:
        return os.getpid()

    def add(self, number: int) -> int:
        self.number += number
        return self.number

    def gate(self) -> int:
        wait_at_gate()
        return os.getpid()

    def leave(self, code: int) -> None:
        os._exit(code)

    def fail(self) -> None:
        raise LookupError("not there")

    def spin(self) -> None:
        while True:
            pass

    def where(self, data: Any) -> tuple[str, int]:
        """What memory an argument is in, and its sum."""
        view = memoryview(data)
        address = ctypes.addressof(ctypes.c_char.from_buffer(view))
        with open("/proc/self/maps") as maps:
            for line in maps:
                low, _, high = line.split()[0].partition("-")
                if int(low, 16) <= address < int(high, 16):
                    return line.split()[-2 if line.endswith("(deleted)\n") else -1], sum(bytes(view[:10]))
        return "nowhere", 0

    def keep(self, data: Any) -> list[int]:
        """The first byte of everything that was ever kept."""
        self.kept.append(data)
        return [bytes(kept[:1])[0] for kept in self.kept]

    def start_program(self) -> int:
        """It stays, as long as this process does."""
        return subprocess.Popen(["sleep", "3600"]).pid

    def count(self, upto: int) -> Iterator[int]:
        yield from range(upto)

    def watched(self) -> Iterator[int]:
        """A stream that waits before its second item, and says when it ends."""
        try:
            yield os.getpid()
            wait_at_gate()
            while True:
                yield 0
        finally:
            log.warning("a stream of %d ended", os.getpid())

    def close(self) -> None:
        if os.path.exists("actor-lingers"):
            wait_at_gate()
        log.warning("close() of the model in %d", os.getpid())


def reach_from_job() -> str:
    async def ask() -> Any:
        return await actors["model"].pid()

    try:
        return str(asyncio.run(ask()))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


actors: dict[str, Actor] = {}


def make(count: int = 1) -> App:
    app = App()
    actors["model"] = app.actor(Model, 100, count=count, mailbox=MAILBOX)
    actors["hasty"] = app.actor(Model, 0, timeout=0.3)
    actors["own"] = app.actor(Model, 0, scope="worker")
    app.get("/call/{name}")(call)
    app.get("/stream/{name}")(stream)
    app.get("/large/{name}")(large)
    app.get("/made")(made)
    app.get("/job")(job)
    app.get("/who")(who)
    app.get("/numbers/{count:int}")(numbers)
    return app


def pair() -> App:
    """Two processes of the model."""
    return make(2)


def one() -> App:
    return make(1)


async def call(request: Request) -> dict[str, Any]:
    name, query = request.path_params["name"], request.query
    actor = actors[query.get("actor", "model")]
    log.warning("%s is called", name)
    try:
        value = await getattr(actor, name)(*json.loads(query.get("args", "[]")))
    except Exception as error:
        if query.get("raise"):
            raise
        return {"error": type(error).__name__, "text": str(error), "cause": str(error.__cause__)}
    return {"value": value, "worker": os.getpid()}


async def stream(request: Request) -> StreamingResponse:
    """The items of a stream, a line each."""
    args = json.loads(request.query.get("args", "[]"))

    async def lines() -> AsyncIterator[bytes]:
        async for item in getattr(actors["model"].stream, request.path_params["name"])(*args):
            yield b"%d\n" % item

    return StreamingResponse(lines())


async def numbers(request: Request) -> dict[str, Any]:
    """A stream that is read at once, and one of large items."""
    count = request.path_params["count"]
    found = [item async for item in actors["model"].stream.count(count)]
    return {"right": found == list(range(count))}


async def large(request: Request) -> dict[str, Any]:
    """A call with a large argument, three times."""
    method = getattr(actors["model"], request.path_params["name"])
    return {"values": [await method(memoryview(bytearray([number]) * 1_000_000)) for number in (1, 2, 3)]}


async def made(request: Request) -> dict[str, Any]:
    """An actor that is there for a request only."""
    async with await children.actor(Model, 7) as actor:
        found = {"value": await actor.add(1), "pid": await actor.pid()}
    try:
        await actor.pid()
    except Exception as error:
        found["closed"] = f"{type(error).__name__}: {error}"
    return found


async def job(request: Request) -> dict[str, Any]:
    try:
        return {"value": await offload(reach_from_job)}
    except OffloadError as error:
        return {"error": str(error)}


async def who(request: Request) -> str:
    """Calls the model as well."""
    await actors["model"].pid()
    return str(os.getpid())
