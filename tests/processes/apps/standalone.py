"""A program that offloads without a prefork server, in several ways, by its first argument. Prints JSON lines."""

import asyncio
import json
import os
import signal
import sys
import threading
from typing import Any

from prefork import offload, on_offload_start
from prefork.errors import OffloadError, UsageError

started: list[int] = []


@on_offload_start
def start_hook() -> None:
    started.append(os.getpid())


def square(number: int) -> int:
    return number * number


def who() -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "threads": len(os.listdir("/proc/self/task")),
        "started": started,
    }


def kill_nursery() -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    signal.pause()


def wait_for_ever() -> None:
    print(json.dumps({"running": os.getpid(), "nursery": os.getppid()}), flush=True)
    signal.pause()


async def results() -> None:
    say(squares=[value async for value in offload.map(square, range(50))])
    say(who=await offload(who))


async def beside_threads() -> None:
    """Locks are held all the time, by threads: a fork of this process would be a trap."""
    stop = threading.Event()
    lock = threading.Lock()

    def hold() -> None:
        while not stop.is_set():
            with lock, open(os.devnull, "w") as file:
                file.write("x")

    threads = [threading.Thread(target=hold) for _ in range(4)]
    for thread in threads:
        thread.start()
    say(who=await offload(who), square=await offload(square, 3))
    stop.set()


async def nursery_dies() -> None:
    try:
        await offload(kill_nursery)
    except OffloadError as error:
        say(error=type(error).__name__, text=str(error))
    say(square=await offload(square, 3))


async def refused() -> None:
    try:
        await offload(square, 3)
    except UsageError as error:
        say(error=str(error))


async def for_ever() -> None:
    await offload(wait_for_ever)


def say(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


def main() -> None:
    program = globals()[sys.argv[1]]
    for _ in range(int(sys.argv[2]) if len(sys.argv) > 2 else 1):
        asyncio.run(program())


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """For another server."""
    if scope["type"] != "http":
        raise RuntimeError("only http is served here")
    found = await offload(who)
    body = json.dumps({**found, "square": await offload(square, 12)}).encode()
    fields = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    main()
elif os.environ.get("UNGUARDED") and __name__ == "__mp_main__":
    asyncio.run(results())
