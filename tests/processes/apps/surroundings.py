"""An app that tells as whom, where, with what environment and with what limits its processes run."""

import ctypes
import os
import resource
from typing import Any

from prefork import App, Request, children, offload
from prefork.children import SharedCounter, SharedLock, parent

IMPORTED_AS = os.geteuid()
VALUE = os.environ.get("FROM_FILE")

_PR_GET_PDEATHSIG = 2
_PR_GET_DUMPABLE = 3

app = App()
memory = app.shared("of-all", 4096)  # made by the master
counter, lock = SharedCounter(memory, 0), SharedLock(memory, 8)


class Teller:
    def tell(self) -> dict[str, Any]:
        return told()


teller = app.actor(Teller)


def told() -> dict[str, Any]:
    libc = ctypes.CDLL(None)
    dies_with = ctypes.c_int()
    libc.prctl(_PR_GET_PDEATHSIG, ctypes.byref(dies_with), 0, 0, 0)
    umask = os.umask(0)
    os.umask(umask)
    return {
        "ids": [*os.getresuid(), *os.getresgid()],
        "groups": sorted(os.getgroups()),
        "imported_as": IMPORTED_AS,
        "home": os.environ.get("HOME"),
        "user": os.environ.get("USER"),
        "dies_with": dies_with.value,
        "dumpable": libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0),
        "folder": os.getcwd(),
        "umask": umask,
        "variable": VALUE,
        "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "memory": resource.getrlimit(resource.RLIMIT_AS)[0],
    }


def count() -> int:
    with lock:
        return counter.add()


def tell_parent() -> None:
    parent.send(told())


@app.get("/worker")
async def worker(request: Request) -> dict[str, Any]:
    return told()


@app.get("/job")
async def job(request: Request) -> dict[str, Any]:
    return await offload(told)


@app.get("/actor")
async def actor(request: Request) -> dict[str, Any]:
    found: dict[str, Any] = await teller.tell()
    return found


@app.get("/fork")
async def fork(request: Request) -> dict[str, Any]:
    child = await children.fork(tell_parent, fresh="fresh" in request.query)
    found: dict[str, Any] = await child.receive()
    await child.wait()
    return found


@app.get("/count")
async def count_together(request: Request) -> str:
    async with lock:
        counter.add()
    return str(await offload(count))


@app.get("/program")
async def program(request: Request) -> str:
    done = await children.exec_file("id", "-u", encoding="utf-8")
    return done.stdout.strip()


@app.get("/allocate/{megabytes:int}")
async def allocate(request: Request) -> str:
    return str(len(bytes(request.path_params["megabytes"] << 20)))
