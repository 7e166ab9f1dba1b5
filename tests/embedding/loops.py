"""Run a test on either event loop, and see that it leaves nothing behind."""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop

from tests.processes.patience import GUARD_SECONDS

Factory = Callable[[], asyncio.AbstractEventLoop]
LOOPS: dict[str, Factory] = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def run(loop: str, test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run it to its end. AssertionError when a task, a thread or a descriptor is left that was not there before."""

    async def main() -> None:
        await asyncio.sleep(0)
        before = open_things()
        async with asyncio.timeout(GUARD_SECONDS):
            await test()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        for thread in threading.enumerate():
            if thread.name.startswith("prefork"):
                thread.join(GUARD_SECONDS)  # it has been told to end, and nobody waits for it
                assert not thread.is_alive(), thread
        assert open_things() == before

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main())


def open_things() -> set[str]:
    """Sockets, pipes, memory and files that this process has open, by what they are."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:
            pass  # the one it took to list them
    return found
