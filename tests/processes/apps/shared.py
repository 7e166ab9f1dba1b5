"""An app with memory that all its processes share: by name, and sent to jobs. The file `size` says
how much."""

import os
import socket
from pathlib import Path
from typing import Any

from prefork import App, Request, offload
from prefork.children import SharedBuffer, SharedCounter, SharedLock, fork, shared
from prefork.errors import ChildError

app = App()
size_file = Path("size")
memory = app.shared("counters", int(size_file.read_text()) if size_file.exists() else 4096)
counter = SharedCounter(memory, 0)
lock = SharedLock(memory, 8)


def add(count: int) -> int:
    for _ in range(count):
        counter.add()
    return os.getpid()


def add_and_fill(count: int, buffer: SharedBuffer) -> None:
    add(count)
    fill(buffer, 7)


def fill(buffer: SharedBuffer, byte: int) -> None:
    buffer.view[:] = bytes([byte]) * buffer.size


def made(size: int) -> SharedBuffer:
    buffer = SharedBuffer(size)
    fill(buffer, 6)
    return buffer


def hold() -> None:
    """Take the lock, and wait at the gate within it."""
    with lock, socket.socket(socket.AF_UNIX) as end:
        end.connect("gate")
        end.recv(1)


def say_that_one_waits() -> None:
    Path("waiting").touch()


@app.get("/add/{count:int}")
async def add_here_and_there(request: Request) -> dict[str, Any]:
    count = request.path_params["count"]
    there = offload(add, count)
    return {"worker": add(count), "offloader": await there}


@app.get("/fork/{fresh:int}/{count:int}")
async def add_in_a_fork(request: Request) -> dict[str, Any]:
    """In a child that is forked, from the mold or as a new interpreter, and sent a buffer."""
    fresh, count = request.path_params["fresh"], request.path_params["count"]
    with SharedBuffer(8) as buffer:
        child = await fork(add_and_fill, count, buffer, fresh=bool(fresh))
        ended = await child.wait()
        return {"ended": str(ended), "changed": set(buffer.view) == {7}}


@app.get("/value")
async def value(request: Request) -> dict[str, Any]:
    return {"value": counter.value, "size": memory.size}


@app.get("/sent")
async def sent(request: Request) -> dict[str, Any]:
    """A buffer that a job changes, and one that it makes."""
    with SharedBuffer(1 << 20) as buffer:
        await offload(fill, buffer, 5)
        result = await offload(made, 1 << 20)
        return {"changed": set(buffer.view) == {5}, "made": set(result.view) == {6}}


@app.get("/late")
async def late(request: Request) -> list[str]:
    assert shared("counters", memory.size) is memory
    said = []
    for name, size in (("late", 8), ("counters", 8)):
        try:
            shared(name, size)
        except ChildError as error:
            said.append(str(error))
    return said


@app.get("/hold")
async def hold_in_a_job(request: Request) -> None:
    await offload(hold)


@app.get("/locked")
async def locked(request: Request) -> dict[str, Any]:
    """Take the lock, without keeping the loop."""
    say_that_one_waits()
    async with lock:
        return {"abandoned": lock.abandoned}
