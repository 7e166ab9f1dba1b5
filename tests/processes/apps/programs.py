"""Runs programs: with a request, beside it, and within a job."""

import asyncio
import os
import resource

from prefork import App, Request, StreamingResponse, children, offload
from prefork.children.home import home

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


@app.get("/zeros")
async def zeros(request: Request) -> StreamingResponse:
    size = request.query["bytes"]
    child = await children.spawn("head", "-c", size, "/dev/zero", check=True)
    return StreamingResponse(child.stdout, length=int(size))


@app.get("/memory")
async def memory(request: Request) -> str:
    """The most that this worker has held, in bytes."""
    return str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


@app.get("/many")
async def many(request: Request) -> str:
    done = await asyncio.gather(*(children.exec_file("echo", str(number)) for number in range(200)))
    return str([int(each.stdout) for each in done] == list(range(200)))


@app.get("/parts")
async def parts(request: Request) -> str:
    """Asks for a child in a task of its own only."""

    async def part() -> str:
        kept.append(await children.spawn("sh", "-c", LINE))
        return (await anext(kept[-1].stdout.lines())).decode()

    return " ".join(await asyncio.gather(part(), part()))


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


def most() -> int:
    return asyncio.run(most_children())


async def most_children() -> int:
    await children.exec_file("true")  # so that the next job has all it needs
    return home().settings.max_children


@app.get("/most")
async def most_in_a_job(request: Request) -> str:
    return str(await offload(most))


@app.get("/job")
async def job(request: Request) -> str:
    try:
        await offload.using(timeout=float(request.query["seconds"]))(run_silent)
    except TimeoutError:
        return "too late"
    return "done"
