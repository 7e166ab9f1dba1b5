"""An app whose requests fail in every way a request can: exit, crash, hang, block, allocate. `/who` just answers.

`/gate` and `/block` connect to the Unix socket `gate` in the server's folder and wait until the test lets them go.
"""

import asyncio
import ctypes
import os
import resource
import select
import signal
import socket
import time
from collections.abc import AsyncIterator

from prefork import App, Request, StreamingResponse

IMPORTED_BY = os.getpid()

app = App()


@app.get("/who")
async def who(request: Request) -> str:
    return str(os.getpid())


@app.get("/imported-by")
async def imported_by(request: Request) -> str:
    return str(IMPORTED_BY)


@app.get("/full/{full:int}")
async def full(request: Request) -> str:
    """1: leave this process no descriptor; 0: as many as before."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3 if request.path_params["full"] else hard, hard))
    return "done"


@app.get("/nodelay")
async def nodelay(request: Request) -> str:
    """TCP_NODELAY (tcp(7)) of the client's connection, found among this process's descriptors."""
    for name in os.listdir("/proc/self/fd"):
        try:
            with socket.socket(fileno=os.dup(int(name))) as end:
                if end.family == socket.AF_INET and end.getpeername() == request.client:
                    return str(end.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        except OSError:
            pass  # no socket, or not connected
    return "not found"


@app.get("/gate")
async def gate(request: Request) -> str:
    """Waits, and lets the loop go on."""
    await pass_gate()
    return str(os.getpid())


@app.get("/any/{rest:path}")
async def anything(request: Request) -> str:
    """The same, with a path of which anything can be part."""
    await pass_gate()
    return ""


@app.get("/stream")
async def stream(request: Request) -> StreamingResponse:
    """One piece at once, and one behind the gate."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"first "
        await pass_gate()
        yield b"last"

    return StreamingResponse(pieces())


@app.get("/block")
async def block(request: Request) -> str:
    """Waits, and the loop with it."""
    wait_at_gate()
    return str(os.getpid())


@app.get("/thread")
def thread(request: Request) -> str:
    """Waits in a thread of the pool, where it cannot be cancelled."""
    wait_at_gate()
    return str(os.getpid())


@app.get("/loop")
async def loop(request: Request) -> str:
    while True:
        pass


@app.get("/stubborn")
async def stubborn(request: Request) -> str:
    """A loop that SIGABRT does not end."""
    signal.signal(signal.SIGABRT, signal.SIG_IGN)
    while True:
        pass


@app.get("/sleep")
async def sleep(request: Request) -> str:
    """In a C call that lets go of the interpreter's lock."""
    time.sleep(3600)  # noqa: ASYNC251 (it is the fault)
    return ""


@app.get("/deadlock")
async def deadlock(request: Request) -> str:
    """In a C call that holds the interpreter's lock: no Python code runs in this process any more."""
    mutex = ctypes.create_string_buffer(128)  # all zero: PTHREAD_MUTEX_INITIALIZER
    ctypes.PyDLL(None).pthread_mutex_lock(mutex)
    ctypes.PyDLL(None).pthread_mutex_lock(mutex)
    return ""


@app.get("/exit/{code:int}")
async def leave(request: Request) -> str:
    os._exit(request.path_params["code"])


@app.get("/segfault")
async def segfault(request: Request) -> bytes:
    return ctypes.string_at(0)


@app.get("/allocate/{megabytes:int}")
async def allocate(request: Request) -> str:
    return str(len(b"x" * (request.path_params["megabytes"] << 20)))


@app.get("/orphan")
def orphan(request: Request) -> str:
    """Leave a process behind that has no parent, and wait for its death."""
    read, write = os.pipe()
    between = os.fork()
    if between == 0:
        pid = os.fork()
        if pid == 0:
            os._exit(77)
        os.write(write, str(pid).encode())
        os._exit(0)
    os.waitpid(between, 0)
    pid = int(os.read(read, 20))
    os.close(read)
    os.close(write)
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return str(pid)
    select.select([descriptor], [], [])
    os.close(descriptor)
    return str(pid)


async def pass_gate() -> None:
    """Wait at the gate; the loop goes on."""
    reader, writer = await asyncio.open_unix_connection("gate")
    try:
        await reader.read(1)
    finally:
        writer.close()


def wait_at_gate() -> None:
    """Wait at the gate; the thread goes nowhere."""
    with socket.socket(socket.AF_UNIX) as end:
        end.connect("gate")
        end.recv(1)
