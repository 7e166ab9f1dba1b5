"""Run coroutines with programs on either event loop, and hold that nothing of them is left over."""

import asyncio
import os
import select
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pytest
import uvloop

from prefork import children
from prefork.system import process
from prefork.system.guard import guard_pid

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, T]], T]

GUARD_SECONDS = 20.0  # far more than anything here takes: it only guards against hanging
STUBBORN = ("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1000; done")


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run[Any]]:
    """Runs a coroutine on a new loop. When the test is over, the processes and descriptors are those from before."""
    monkeypatch.setenv("PREFORK_CHILDREN_GRACE_SECONDS", "0.1")

    def run(main: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(within(main))

    run(children.exec_file("true"))  # so that the guard of this process is there
    before = rest()
    yield run
    assert rest() == before


async def within(main: Coroutine[Any, Any, T]) -> T:
    async with asyncio.timeout(GUARD_SECONDS):
        return await main


async def until(fact: Callable[[], object]) -> None:
    """Wait, while the loop runs, for what nobody tells."""
    while not fact():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


def rest() -> tuple[set[int], list[str]]:
    """Our children but the guard, and what we have open, the guard's pipe and table among it."""
    names = [name for name in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{name}")]
    kinds = sorted(os.readlink(f"/proc/self/fd/{name}").partition(":[")[0] for name in names)
    return process.children() - {guard_pid() or 0}, kinds


def wait_gone(pid: int) -> None:
    """Wait until a process, that need not be our child, is no more."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    gone, _, _ = select.select([descriptor], [], [], GUARD_SECONDS)
    os.close(descriptor)
    assert gone, f"process {pid} still runs"


def lives(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
