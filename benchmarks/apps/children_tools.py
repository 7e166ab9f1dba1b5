"""What each tool of a handler costs: its start, a call, a process that waits."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

from children_jobs import Model, echo, same
from children_scenarios import MESSAGE, MESSAGE_BLOCK, first_message
from children_timing import Line, check, in_turns

from prefork import children, offload

HOLD_SECONDS = 0.1  # that a job keeps its offloader, so that others start beside it
held: list[Any] = []  # until the server ends
shared = children.declare(Model, scope="server")


async def coroutine(value: Any) -> Any:
    """What an await costs that waits for nothing."""
    return value


async def calls(seconds: float) -> list[Line]:
    """A small value there and back, one at a time, with everything started."""
    counter = children.SharedCounter()
    async with AsyncExitStack() as stack:
        child = await stack.enter_async_context(await children.fork(echo))
        actor = await stack.enter_async_context(await children.actor(Model))

        async def by_fork() -> None:
            await child.send(MESSAGE)
            check(await child.receive(), MESSAGE)

        async def by_counter() -> None:
            counter.add()

        ways = {
            "async": lambda: right(coroutine(MESSAGE)),
            "thread": lambda: right(children.thread(same, MESSAGE)),
            "offload": lambda: right(offload(same, MESSAGE)),
            "actor": lambda: right(actor.same(MESSAGE)),
            "server": lambda: right(shared.same(MESSAGE)),
            "fork": by_fork,
            "counter": by_counter,
        }
        return await in_turns(ways, seconds, MESSAGE_BLOCK)


async def right(answer: Awaitable[Any]) -> None:
    """It is the message."""
    check(await answer, MESSAGE)


async def programs(seconds: float) -> list[Line]:
    """A program from its start to its end."""

    async def by_exec_file() -> None:
        check((await children.exec_file("true")).status, 0)

    async def by_exec() -> None:
        check((await children.exec("true")).status, 0)

    async def by_spawn() -> None:
        child = await children.spawn("true")
        check((await child.wait()).status, 0)

    return await in_turns({"exec_file": by_exec_file, "exec": by_exec, "spawn": by_spawn}, seconds)


async def starts(seconds: float) -> list[Line]:
    """From asking for a new one to its first answer."""

    async def by_actor() -> int:
        start = time.perf_counter_ns()
        async with await children.actor(Model) as actor:
            await right(actor.same(MESSAGE))
            return time.perf_counter_ns() - start

    # The first call, of which there is one in each server, starts a thread or an offloader.
    first = {"thread": lambda: children.thread(same, MESSAGE), "offload": lambda: offload(same, MESSAGE)}
    lines = [{"name": name, "value": await once(call)} for name, call in first.items()]
    return lines + await in_turns({"fork": first_message, "actor": by_actor}, seconds)


async def once(call: Callable[[], Awaitable[Any]]) -> float:
    """The seconds of a single call."""
    start = time.perf_counter()
    await right(call())
    return time.perf_counter() - start


async def hold(tool: str, count: int) -> list[Line]:
    """Start as many of a kind, which stay until the server ends, idle. There is nothing to tell of them."""
    if tool == "offload":
        # As many offloaders as that, if --offload-max allows them: each has a job at the same time.
        await asyncio.gather(*(offload(time.sleep, HOLD_SECONDS) for _ in range(count)))
        return []
    for _ in range(count):
        if tool == "fork":
            child = await children.fork(echo, bound=False)
            await child.send(MESSAGE)
            check(await child.receive(), MESSAGE)
            held.append(child)
        else:
            actor = await children.actor(Model)
            await right(actor.same(MESSAGE))
            held.append(actor)
    return []


SCENARIOS = {"calls": calls, "programs": programs, "starts": starts}
