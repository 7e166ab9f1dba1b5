"""An app whose handlers fork children and talk to them."""

import asyncio
import logging
import os
import signal
import socket
import sys
from typing import Any, Final

from prefork import App, Request, StreamingResponse, children
from prefork.children import Crashed, Exited, ForkedChild, WithFds, parent
from prefork.errors import ChildError

app = App()
imported_in = os.getpid()
kept: Final[dict[int, ForkedChild]] = {}  # by pid; forked with bound=False
_log = logging.getLogger("forks")


# -- what is forked


def echo() -> None:
    for message in parent:
        parent.send(message)


async def echo_async() -> None:
    async for message in parent:
        await parent.asend(message)


def who() -> None:
    _log.warning("hello from a child")
    parent.send(
        {
            "pid": os.getpid(),
            "parent": os.getppid(),
            "group": os.getpgid(0),
            "imported_in": imported_in,
            "fresh": "prefork.processes.fresh" in sys.orig_argv,
        }
    )


def hold() -> None:
    """Ends when it is made to."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    parent.send(os.getpid())
    while True:
        signal.pause()


def write_back() -> None:
    for message in parent:
        assert isinstance(message, WithFds)
        [descriptor] = message.take()
        with socket.socket(fileno=descriptor) as end:
            end.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\nconnection: close\r\n\r\nfrom child")
            end.shutdown(socket.SHUT_WR)
        parent.send("written")


def flood() -> None:
    while True:
        parent.send(bytes(1_000_000))


# -- handlers


@app.get("/who")
async def get_who(request: Request) -> dict[str, Any]:
    child = await children.fork(who, fresh="fresh" in request.query)
    found: dict[str, Any] = await child.receive()
    await child.wait()
    return found


@app.get("/talk/{target}")
async def talk(request: Request) -> list[int]:
    """A thousand messages there and back, some of them large."""
    found: list[int] = []
    async with await children.fork(f"forks:{request.path_params['target']}") as child:

        async def feed() -> None:
            for number in range(1000):
                await child.send([number, b"x" * (100_000 if number % 100 == 0 else 10)])

        feeding = asyncio.create_task(feed())
        while len(found) < 1000:
            number, body = await child.receive()
            assert len(body) == (100_000 if number % 100 == 0 else 10)
            found.append(number)
        await feeding
    return found


@app.get("/socket")
async def get_socket(request: Request) -> str:
    """A child writes into a connected socket that it was sent."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    async with await children.fork(write_back) as child:
        await child.send("write", fds=[theirs])
        theirs.close()
        assert await child.receive() == "written"
        with ours:
            reply = await asyncio.get_running_loop().sock_recv(ours, 1000)
    return reply.decode().rpartition("\r\n")[2]


@app.get("/held")
async def held(request: Request) -> StreamingResponse:
    """The pid of a child, while it is held."""
    child = await children.fork(hold)

    async def lines() -> Any:
        yield f"{await child.receive()}!"
        yield f"{await child.receive()}!"

    return StreamingResponse(lines())


@app.get("/forgotten")
async def forgotten(request: Request) -> str:
    """The pid of a child that is there when its handler returns."""
    child = await children.fork(hold)
    app.state.forgotten = child  # so that it is not let go of for want of references
    return str(await child.receive())


@app.get("/kept")
async def keep(request: Request) -> str:
    """The pid of a child that belongs to nobody's request."""
    child = await children.fork(hold, bound=False)
    kept[child.pid] = child
    return str(await child.receive())


@app.get("/fate/{pid:int}")
async def fate(request: Request) -> dict[str, Any]:
    """What becomes of one of those."""
    child = kept.pop(request.path_params["pid"])
    event = await child.wait()
    if isinstance(event, Exited):
        return {"exited": event.status}
    assert isinstance(event, Crashed)
    try:
        await child.receive()
    except ChildError as error:
        return {"crashed": event.signal, "error": type(error).__name__, "text": str(error)}
    return {}


@app.get("/fork/{target}")
async def fork_target(request: Request) -> dict[str, Any]:
    """Whether it can be forked."""
    try:
        async with await children.fork(f"forks:{request.path_params['target']}"):
            return {"started": True}
    except ChildError as error:
        return {"error": type(error).__name__, "text": str(error)}


@app.get("/flooded")
async def flooded(request: Request) -> dict[str, Any]:
    """A child sends as much as it can while nobody reads; then a part of that is read."""
    async with await children.fork(flood) as child:
        await child.receive()
        found = [_memory(), _memory(child.pid)]
        for _ in range(200):
            await child.receive()
        found += [_memory(), _memory(child.pid)]
    return {"resident": found}


@app.get("/pid")
async def pid(request: Request) -> str:
    return str(os.getpid())


def _memory(pid: int | str = "self") -> int:
    """Bytes that are resident."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
