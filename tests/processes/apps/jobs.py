"""An app whose jobs end in every way a job can. `/run/NAME` runs one and tells what came of it, as JSON.

`?args=[…]` are its arguments, `?options={…}` those of `Offload`. `/endpoint/NAME` runs it as an offloaded endpoint.
"""

import asyncio
import ctypes
import json
import logging
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

from prefork import App, HTTPError, Offload, Request, StreamingResponse, offload
from prefork.errors import OffloadError

log = logging.getLogger("shop.jobs")

app = App()
tenant: ContextVar[str] = ContextVar("tenant", default="nobody")
offload.carry(tenant)
kept: list[Any] = []
started: list[int] = []


@app.on_offload_start
def start_hook() -> None:
    started.append(os.getpid())
    if os.path.exists("hook-fails"):
        raise RuntimeError("no model on purpose")


@app.on_offload_stop
def stop_hook() -> None:
    log.warning("stop hook in %d", os.getpid())


# -- jobs


class Peculiar(Exception):
    """An exception that cannot be made from its `args`."""

    def __init__(self, code: int, *, detail: str) -> None:
        super().__init__(f"code {code}: {detail}")
        self.code = code
        self.detail = detail


def pid() -> int:
    return os.getpid()


def add(a: int, b: int) -> int:
    return a + b


def echo(value: Any) -> Any:
    return value


def segfault() -> bytes:
    return ctypes.string_at(0)


def leave(code: int) -> None:
    os._exit(code)


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def exit_interpreter() -> None:
    sys.exit(5)


def allocate(megabytes: int) -> int:
    return len(bytearray(megabytes << 20))


def spin() -> None:
    while True:
        pass


def deadlock() -> None:
    """In a C call that holds the interpreter's lock."""
    mutex = ctypes.create_string_buffer(128)  # all zero: PTHREAD_MUTEX_INITIALIZER
    ctypes.PyDLL(None).pthread_mutex_lock(mutex)
    ctypes.PyDLL(None).pthread_mutex_lock(mutex)


def stubborn() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    spin()


def gate() -> int:
    """Wait until the test lets us go."""
    wait_at_gate()
    return os.getpid()


def litter(count: int) -> list[int]:
    """Leave processes behind: children, and orphans of theirs, half of which do not heed SIGTERM."""
    for number in range(count):
        trap = "trap '' TERM; " if number % 2 else ""
        subprocess.Popen(["sh", "-c", f"{trap}sleep 3600 & exec sleep 3600"])
    return sorted(descendants(os.getpid()))


def litter_and_wait(count: int) -> None:
    litter(count)
    wait_at_gate()


def descendants(of: int) -> set[int]:
    """Wait until each shell has both its processes."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    parents[int(name)] = int(file.read().rpartition(")")[2].split()[1])
            except OSError:
                pass
    found = {of}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {of}


def unpicklable() -> Any:
    return threading.Lock()


def large(megabytes: int) -> bytes:
    return b"x" * (megabytes << 20)


def peculiar() -> None:
    raise Peculiar(7, detail="on purpose")


def count(upto: int) -> Iterator[int]:
    yield from range(upto)


def count_large(upto: int) -> Iterator[bytes]:
    for number in range(upto):
        yield bytes([number]) * 300_000


def endless() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1


def gate_twice() -> Iterator[int]:
    wait_at_gate()
    yield os.getpid()
    wait_at_gate()


def die_after(upto: int) -> Iterator[int]:
    yield from range(upto)
    kill_self()


def crash_until(path: str, times: int) -> int:
    """Crash as long as the file is shorter than `times` bytes, which grows by one each time."""
    with open(path, "ab") as file:
        file.write(b"x")
        tries = file.tell()
    if tries <= times:
        kill_self()
    return tries


def crash_tenth(number: int) -> int:
    if number % 100 == 50:
        kill_self()
    return number * number


def keep(value: Any) -> int:
    kept.append(value)
    return len(kept)


def kept_sums() -> list[int]:
    return [sum(bytes(value[:10])) for value in kept if isinstance(value, memoryview)]


def grow(megabytes: int) -> int:
    kept.append(b"x" * (megabytes << 20))
    return os.getpid()


def report(steps: int) -> int:
    for step in range(1, steps + 1):
        offload.progress(step / steps, f"step {step}")
        wait_at_gate()
    return steps


def nested() -> Any:
    return asyncio.run(offload(add, 1, 2))


def say(text: str) -> None:
    log.warning("%s", text)


def who() -> dict[str, Any]:
    """What a job sees of its process."""
    return {
        "pid": os.getpid(),
        "group": os.getpgid(0),
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "ignored": [
            number.name for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) is signal.SIG_IGN
        ],
        "descriptors": dict(open_now()),
        "random": random.random(),
        "tenant": tenant.get(),
        "started": started,
        "limits": [resource.getrlimit(resource.RLIMIT_AS)[0], resource.getrlimit(resource.RLIMIT_CPU)[0]],
        "loop": asyncio._get_running_loop() is not None,
        "modules": "shop" in sys.modules,
    }


def open_now() -> Iterator[tuple[str, str]]:
    """What this process has open, by number; not what it took to list that, nor what another thread has closed."""
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            yield name, os.readlink(f"/proc/self/fd/{name}")


# -- endpoints


@app.get("/run/{name}")
async def run(request: Request) -> dict[str, Any]:
    """Run a job and tell what came of it."""
    tenant.set(request.query.get("tenant", "nobody"))
    args = json.loads(request.query.get("args", "[]"))
    options = json.loads(request.query.get("options", "{}"))
    try:
        value = await offload.using(**options)(globals()[request.path_params["name"]], *args)
    except Exception as error:
        return described(error)
    return {"value": len(value) if isinstance(value, bytes) else value}


@app.get("/lambda")
async def run_lambda(request: Request) -> dict[str, Any]:
    try:
        return {"value": await offload(lambda: 1)}
    except OffloadError as error:
        return described(error)


@app.get("/unpicklable-argument")
async def unpicklable_argument(request: Request) -> dict[str, Any]:
    try:
        return {"value": await offload(echo, threading.Lock())}
    except OffloadError as error:
        return described(error)


@app.get("/many/{count:int}")
async def many(request: Request) -> dict[str, Any]:
    """Many small jobs, as many at a time as the queue takes; each result must be the one of its job."""
    wanted = range(request.path_params["count"])
    found = [value async for value in offload.map(echo, wanted, ahead=64)]
    return {"right": sum(a == b for a, b in zip(found, wanted, strict=True))}


def pattern(number: int) -> bytes:
    return number.to_bytes(4, "big") * 25_000


@app.get("/patterns/{count:int}")
async def patterns(request: Request) -> dict[str, Any]:
    """Quick jobs with large results, all at once."""
    numbers = range(request.path_params["count"])
    found = await asyncio.gather(*(offload(pattern, number) for number in numbers))
    return {"right": sum(value == pattern(number) for number, value in zip(numbers, found, strict=True))}


@app.get("/crashing/{count:int}")
async def crashing(request: Request) -> dict[str, Any]:
    """Many jobs at once, one of a hundred of which kills its process."""

    async def one(number: int) -> str:
        try:
            return "right" if await offload(crash_tenth, number) == number * number else "wrong"
        except OffloadError as error:
            return f"{type(error).__name__} {number % 100}"

    outcomes = await asyncio.gather(*(one(number) for number in range(request.path_params["count"])))
    return {outcome: outcomes.count(outcome) for outcome in sorted(set(outcomes))}


@app.get("/array")
async def array(request: Request) -> dict[str, Any]:
    """Large buffers there and back, of each type."""
    data = bytes(range(256)) * 40_000
    values: list[Any] = [data, bytearray(data), memoryview(data)]
    found = [await offload(echo, value) for value in values]
    return {
        "types": [type(value).__name__ for value in found],
        "same": [bytes(value) == data for value in found],
        "two": [bytes(value) == data for value in await offload(echo, [data, memoryview(data)])],
    }


@app.get("/stream/{name}")
async def stream(request: Request) -> list[Any]:
    """All that a generator yields, large items as their first byte and length."""
    args = json.loads(request.query.get("args", "[]"))
    items = [item async for item in offload.stream(globals()[request.path_params["name"]], *args)]
    return [[item[0], len(item)] if isinstance(item, bytes) else item for item in items]


@app.get("/stream-error")
async def stream_error(request: Request) -> dict[str, Any]:
    """What comes of a generator whose process dies."""
    found = []
    try:
        async for item in offload.stream(die_after, 3):
            found.append(item)
    except OffloadError as error:
        return {"items": found, **described(error)}
    return {"items": found}


@app.get("/abandon")
async def abandon(request: Request) -> list[int]:
    """Take three items of an endless generator, and leave."""
    found: list[int] = []
    items = offload.stream(endless)
    async for item in items:
        found.append(item)
        if len(found) == 3:
            break
    await items.aclose()
    return found


@app.get("/slow-reader")
async def slow_reader(request: Request) -> dict[str, Any]:
    """How far an endless generator runs ahead of a reader that takes one item and waits at the gate."""
    items = offload.stream(endless)
    first = await anext(items)
    await pass_gate()
    return {"first": first}


@app.get("/watched/{steps:int}")
async def watched(request: Request) -> StreamingResponse:
    """The reports of a job as they come, then its result."""
    job = offload.start(report, request.path_params["steps"])

    async def lines() -> Any:
        async for told in job.progress():
            yield f"{told.fraction:.2f} {told.note}\n"
        yield f"result {await job}\n"

    return StreamingResponse(lines())


@app.get("/cancelled")
async def cancelled(request: Request) -> dict[str, Any]:
    """Cancel a running job from beside the one who awaits it."""
    job = offload.start(gate)
    await pass_gate()
    job.cancel()
    try:
        return {"value": await job}
    except OffloadError as error:
        return described(error)


@app.get("/background")
async def background(request: Request) -> str:
    """Start a job that no request waits for."""
    task = asyncio.create_task(offload(gate))
    task.add_done_callback(lambda task: log.warning("background job ended: %s", task.exception() or "well"))
    return "started"


@app.get("/endpoint/gate", offload=True)
def endpoint_gate(request: Request) -> str:
    wait_at_gate()
    return str(os.getpid())


@app.get("/endpoint/timeout", offload=Offload(timeout=0.3, grace=0.1))
def endpoint_timeout(request: Request) -> None:
    spin()


@app.get("/endpoint/crash", offload=True)
def endpoint_crash(request: Request) -> None:
    kill_self()


@app.get("/endpoint/teapot", offload=True)
def endpoint_teapot(request: Request) -> None:
    raise HTTPError(418, "short and stout", {"x-spout": "yes"})


@app.get("/endpoint/lines", offload=Offload(idempotent=True, retries=1))
def endpoint_lines(request: Request) -> Iterator[str]:
    for number in range(3):
        yield f"line {number}\n"


@app.get("/endpoint/endless", offload=True)
def endpoint_endless(request: Request) -> Iterator[bytes]:
    wait_at_gate()
    while True:
        yield b"x" * 1000


@app.post("/endpoint/upload", offload=True, max_body=1 << 20)
def endpoint_upload(request: Request) -> dict[str, Any]:
    body = request.wait(request.body())
    return {"length": len(body), "type": type(body).__name__, "sum": sum(body), "same app": request.app is app}


@app.get("/endpoint/large", offload=True)
def endpoint_large(request: Request) -> bytes:
    return b"x" * 5_000_000


@app.get("/kept")
async def run_kept(request: Request) -> dict[str, Any]:
    """Let jobs keep views of their arguments, and look at them before and after others were sent."""
    before = []
    for number in (1, 2):
        await offload(keep, memoryview(bytes([number]) * 100_000))
        before.append(await offload(kept_sums))
    await offload(keep, memoryview(bytes([3]) * 100_000))
    return {"before": before, "after": await offload(kept_sums)}


@app.get("/pid")
async def worker_pid(request: Request) -> str:
    return str(os.getpid())


def described(error: Exception) -> dict[str, Any]:
    found: dict[str, Any] = {"error": type(error).__name__, "text": str(error), "cause": str(error.__cause__ or "")}
    found.update({key: value for key, value in vars(error).items() if isinstance(value, int | str)})
    return found


def wait_at_gate() -> None:
    with socket.socket(socket.AF_UNIX) as end:
        end.connect("gate")
        end.recv(1)


async def pass_gate() -> None:
    reader, writer = await asyncio.open_unix_connection("gate")
    try:
        await reader.read(1)
    finally:
        writer.close()
