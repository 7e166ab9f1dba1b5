"""What asyncio and multiprocessing offer for the same: each as its documentation, or its users, would do it."""

import asyncio
import multiprocessing
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from children_jobs import serve_pipe
from children_timing import check

READ_BYTES = 64 * 1024  # asyncio's own limit of a stream; larger reads are no faster


async def execute(*argv: str) -> bytes:
    """A program's output, with asyncio."""
    process = await asyncio.create_subprocess_exec(*argv, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
    output, _ = await process.communicate()
    check(process.returncode, 0)
    return output


async def count(*argv: str) -> int:
    """How many bytes a program writes, with asyncio."""
    process = await asyncio.create_subprocess_exec(*argv, stdin=DEVNULL, stdout=PIPE)
    assert process.stdout
    total = 0
    while piece := await process.stdout.read(READ_BYTES):
        total += len(piece)
    check(await process.wait(), 0)
    return total


class PipeProcess:
    """A process of multiprocessing's behind a Pipe, which blocks, and so is driven from a thread."""

    def __init__(self, connection: "Connection[Any, Any]", threads: ThreadPoolExecutor) -> None:
        self._connection = connection
        self._threads = threads
        self._loop = asyncio.get_running_loop()

    async def message(self, *call: Any) -> Any:
        """Send and receive, as two calls of the executor: the way of messages, which come when they come."""
        await self._loop.run_in_executor(self._threads, self._connection.send, call)
        return await self._loop.run_in_executor(self._threads, self._connection.recv)

    async def ask(self, *call: Any) -> Any:
        """The same as one call of the executor, where each message has one answer."""
        return await self._loop.run_in_executor(self._threads, self._ask, call)

    def _ask(self, call: tuple[Any, ...]) -> Any:
        self._connection.send(call)
        return self._connection.recv()


@asynccontextmanager
async def pipe_process() -> AsyncIterator[PipeProcess]:
    """One that runs children_jobs.serve_pipe."""
    with started(serve_pipe) as (_, connection), ThreadPoolExecutor(1) as threads:
        yield PipeProcess(connection, threads)


@contextmanager
def started(
    target: Callable[["Connection[Any, Any]"], None],
) -> Iterator[tuple["SpawnProcess", "Connection[Any, Any]"]]:
    """A process of multiprocessing's in a new interpreter, the way that is safe in a program with threads."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(theirs,))
    process.start()
    theirs.close()
    try:
        yield process, ours
    finally:
        ours.close()
        process.join()
