"""An app with something of each kind to look at: jobs, an actor, programs, forks. What has to wait does so at the gate
in the server's folder."""

import asyncio
import logging
import socket

from prefork import App, Request, children, offload
from prefork.children import ForkedChild, Program, parent

app = App()
kept: list[Program | ForkedChild] = []
log = logging.getLogger("shop")


def wait_at_gate() -> None:
    with socket.socket(socket.AF_UNIX) as end:
        end.connect("gate")
        end.recv(1)


def hold() -> None:
    parent.send("here")
    for _ in parent:
        pass


class Model:
    """Computes at the gate."""

    def compute(self) -> None:
        wait_at_gate()


model = app.actor(Model)


@app.get("/")
async def root(request: Request) -> str:
    log.debug("a debug line of the app")
    return "root"


@app.get("/gate")
async def gate(request: Request) -> str:
    reader, writer = await asyncio.open_unix_connection("gate")
    await reader.read(1)
    writer.close()
    return "through"


@app.get("/block")
async def block(request: Request) -> str:
    wait_at_gate()
    return "through"


@app.get("/job")
async def job(request: Request) -> str:
    await offload(wait_at_gate)
    return "done"


@app.get("/call")
async def call(request: Request) -> str:
    await model.compute()
    return "done"


@app.get("/family")
async def family(request: Request) -> str:
    """Start a program and a fork, which stay."""
    program = await children.spawn("sleep", "1000", bound=False)
    child = await children.fork(hold, bound=False)
    await child.receive()
    kept.extend((program, child))
    return f"{program.pid} {child.pid}"
