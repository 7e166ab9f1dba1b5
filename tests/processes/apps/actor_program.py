"""A program with actors and no prefork server, by its first argument. Prints JSON lines."""

import asyncio
import gc
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import uvloop

from prefork import children


class Model:
    def __init__(self, number: int) -> None:
        self.number = number

    def add(self, number: int) -> int:
        self.number += number
        return self.number

    def pids(self) -> tuple[int, int]:
        return os.getpid(), os.getppid()

    def count(self, upto: int) -> Iterator[int]:
        yield from range(upto)

    def reuse(self, times: int) -> Iterator[bytearray]:
        """The same object again and again."""
        room = bytearray(4)
        for number in range(times):
            room[0] = number
            yield room

    def break_off(self) -> Iterator[int]:
        yield 1
        raise LookupError("no more")

    def large(self, times: int) -> Iterator[bytes]:
        for number in range(times):
            yield bytes([number]) * 300_000

    def bump(self, counter: Any) -> None:
        counter.add(1)

    async def wrong(self) -> None:
        pass

    def close(self) -> None:
        say(closed=self.number)


class Broken:
    def __init__(self) -> None:
        raise LookupError("no weights")


declared = children.declare(Model, 1000)


def say(**what: Any) -> None:
    os.write(1, (json.dumps(what) + "\n").encode())  # one piece: others write there too


async def calls() -> None:
    model = await children.actor(Model, 5, count=2)
    say(added=await model.add(1))
    say(items=[item async for item in model.stream.count(300)] == list(range(300)))
    say(reused=[item[0] async for item in model.stream.reuse(200)] == list(range(200)))
    say(large=[item[0] async for item in model.stream.large(3)])
    found: list[Any] = []
    try:
        async for item in model.stream.break_off():
            found.append(item)
    except LookupError as error:
        found.append(str(error))
    say(broken_off=found)
    counter = children.SharedCounter()
    await model.bump(counter)
    say(counted=counter.value)
    say(declared=await declared.add(1))
    await model.close()
    await model.close()


async def mistakes() -> None:
    class Local:
        pass

    model = await children.actor(Model, 5)
    for attempt in (
        lambda: model.ad(1),
        lambda: model.wrong(),
        lambda: model.count(1),
        lambda: model.add(threading.Lock()),
        lambda: children.actor(Local),
        lambda: children.actor(Model, threading.Lock()),
        lambda: children.actor(Broken),
        lambda: children.actor(len),  # type: ignore[arg-type]
        lambda: children.actor(Model, 1, count=0),
        lambda: declared.close(),
    ):
        try:
            say(gave=repr(await attempt()))
        except Exception as error:
            say(error=type(error).__name__, text=str(error))


async def end_of(death: int) -> None:
    """The end of a process, by its pidfd."""
    gone = asyncio.Event()
    asyncio.get_running_loop().add_reader(death, gone.set)
    await gone.wait()
    asyncio.get_running_loop().remove_reader(death)
    os.close(death)


async def nursery_dies() -> None:
    model = await children.actor(Model, 5)
    await model.add(1)
    pid, nursery = await model.pids()
    death = os.pidfd_open(pid)
    os.kill(nursery, signal.SIGKILL)
    await end_of(death)
    say(added=await model.add(1), another=(await model.pids())[0] != pid)


async def forgotten() -> None:
    """An actor that nobody holds on to, and one that is there when the program ends."""
    model = await children.actor(Model, 1)
    pid, _ = await model.pids()
    death = os.pidfd_open(pid)
    del model
    gc.collect()
    await end_of(death)
    say(gone=True)
    await children.actor(Model, 2)


if __name__ == "__main__":
    run = uvloop.run if "uvloop" in sys.argv else asyncio.run
    run(globals()[sys.argv[1]]())
