"""Runs programs: with a request, beside it, and within a job."""

import asyncio
import os

from prefork import App, Request, StreamingResponse, children, offload

# Each says its pid and that of a process it has started, which ignores SIGTERM; then it goes on without end.
LINE = "(trap '' TERM; exec sleep 1000) & echo $$ $!; exec yes"
SILENT = "(trap '' TERM; exec sleep 1000) & echo $$ $! >told; wait; wait"

app = App()
kept: list[children.Program] = []


@app.get("/pid")
async def pid(request: Request) -> str:
    return str(os.getpid())


@app.get("/true")
async def true(request: Request) -> str:
    return str((await children.exec_file("true")).status)


@app.get("/signals")
async def signals(request: Request) -> str:
    """What a program finds ignored."""
    return (await children.exec("grep SigIgn /proc/self/status", encoding="ascii")).stdout.split()[1]


@app.get("/stream")
async def stream(request: Request) -> StreamingResponse:
    child = await children.spawn("sh", "-c", LINE)
    return StreamingResponse(child.stdout)


@app.get("/kept")
async def keep(request: Request) -> str:
    kept.append(await children.spawn("sh", "-c", LINE, bound=False))
    return (await anext(kept[-1].stdout.lines())).decode()


@app.get("/left")
async def leave(request: Request) -> str:
    """Ends before its program, and refers to it from elsewhere."""
    kept.append(await children.spawn("sh", "-c", LINE))
    return (await anext(kept[-1].stdout.lines())).decode()


@app.get("/buffered")
async def buffered(request: Request) -> str:
    await children.exec(SILENT)
    return "done"


@app.post("/count")
async def count(request: Request) -> bytes:
    child = await children.spawn("wc", "-c", stdin=request.stream(), check=True)
    return await child.stdout.read()


def run_silent() -> None:
    asyncio.run(silent())


async def silent() -> None:
    await children.exec(SILENT)


@app.get("/job")
async def job(request: Request) -> str:
    try:
        await offload.using(timeout=float(request.query["seconds"]))(run_silent)
    except TimeoutError:
        return "too late"
    return "done"
