"""What is measured of children beside their peers, in one process, in turns: under any loop, in a worker or not."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import children_peers as peers
import numpy
from children_jobs import Model, echo, greet, sums
from children_timing import Call, Line, check, in_turns

from prefork import children, offload

AT_ONCE = 16
EXEC_BLOCK = 5  # calls before it is another's turn
STREAM_BYTES = 1024**3
STREAM = ("head", "-c", "1G", "/dev/zero")
MESSAGE_BLOCK = 200
MESSAGE = "a small message"
ARRAY_BYTES = 100_000_000


async def execute(seconds: float) -> list[Line]:
    """Run a program and have its output: one at a time, and AT_ONCE of them."""

    async def own() -> None:
        done = await children.exec_file("true")
        check((done.status, done.stdout), (0, b""))

    async def theirs() -> None:
        check(await peers.execute("true"), b"")

    one = {"prefork 1": own, "asyncio 1": theirs}
    many = {f"prefork {AT_ONCE}": times(own), f"asyncio {AT_ONCE}": times(theirs)}
    return [*await in_turns(one, seconds, EXEC_BLOCK), *await in_turns(many, seconds, EXEC_BLOCK, AT_ONCE)]


def times(call: Call) -> Call:
    """AT_ONCE calls at the same time."""

    async def all_of_them() -> None:
        await asyncio.gather(*(call() for _ in range(AT_ONCE)))

    return all_of_them


async def stream(seconds: float) -> list[Line]:
    """Read all that a program writes, and forget it. The value is bytes a second."""

    async def own() -> None:
        child = await children.spawn(*STREAM)
        total = 0
        async for piece in child.stdout:
            total += len(piece)
        check((total, (await child.wait()).status), (STREAM_BYTES, 0))

    async def theirs() -> None:
        check(await peers.count(*STREAM), STREAM_BYTES)

    lines = await in_turns({"prefork": own, "asyncio": theirs}, seconds)
    return [{**line, "value": STREAM_BYTES / line["value"]} for line in lines]


async def fork(seconds: float) -> list[Line]:
    """From `fork` to the first message of the child. Its end is waited for, and not counted."""
    return await in_turns({"fork": first_message}, seconds)


async def first_message() -> int:
    """Of a new child: nanoseconds until it came."""
    start = time.perf_counter_ns()
    child = await children.fork(greet)
    pid = await child.receive()
    took = time.perf_counter_ns() - start
    check((pid, await child.wait()), (child.pid, children.Exited(0)))
    return took


async def message(seconds: float) -> list[Line]:
    """A small message there and back, one in flight."""
    async with AsyncExitStack() as stack:
        child = await stack.enter_async_context(await children.fork(echo))
        actor = await stack.enter_async_context(await children.actor(Model))
        pipe = await stack.enter_async_context(peers.pipe_process())

        async def by_fork() -> None:
            await child.send(MESSAGE)
            check(await child.receive(), MESSAGE)

        async def by_actor() -> None:
            check(await actor.same(MESSAGE), MESSAGE)

        async def by_messages() -> None:
            check(await pipe.message("same", MESSAGE), MESSAGE)

        async def by_asking() -> None:
            check(await pipe.ask("same", MESSAGE), MESSAGE)

        ways = {"fork": by_fork, "actor": by_actor, "pipe": by_messages, "pipe-ask": by_asking}
        return await in_turns(ways, seconds, MESSAGE_BLOCK)


async def array(seconds: float) -> list[Line]:
    """100 MB of float64 there, and their sum back."""
    sent = numpy.arange(ARRAY_BYTES // 8, dtype=numpy.float64)
    total = float(sent.sum())  # whole, and below 2^53
    async with AsyncExitStack() as stack:
        child = await stack.enter_async_context(await children.fork(sums))
        actor = await stack.enter_async_context(await children.actor(Model))
        pipe = await stack.enter_async_context(peers.pipe_process())

        async def by_offload() -> None:
            check(await offload(numpy.sum, sent), total)

        async def by_fork() -> None:
            await child.send(sent)
            check(await child.receive(), total)

        async def by_actor() -> None:
            check(await actor.total(sent), total)

        async def by_messages() -> None:
            check(await pipe.message("total", sent), total)

        async def by_asking() -> None:
            check(await pipe.ask("total", sent), total)

        own = {"fork": by_fork, "actor": by_actor, "offload": by_offload}
        return await in_turns({**own, "pipe": by_messages, "pipe-ask": by_asking}, seconds)


async def spawn(seconds: float) -> list[Line]:
    """From the start of a process of multiprocessing's, which imports the heavy app, to its first message."""
    from children_heavy import greet_pipe

    async def first() -> int:
        start = time.perf_counter_ns()
        with peers.started(greet_pipe) as (process, connection):
            pid = await asyncio.to_thread(connection.recv)
            took = time.perf_counter_ns() - start
            check(pid, process.pid)
        return took

    return await in_turns({"multiprocessing": first}, seconds)


SCENARIOS: dict[str, Callable[[float], Awaitable[list[Line]]]] = {
    "exec": execute,
    "stream": stream,
    "fork": fork,
    "spawn": spawn,
    "message": message,
    "array": array,
}
