"""A Dask cluster on this machine: a scheduler and workers as processes, and pools of jobs that use them."""

import asyncio
import functools
import os
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import uvloop

from prefork.jobs import client
from prefork.jobs.dask import DaskBackend
from prefork.jobs.pool import Pool
from prefork.settings import Settings
from tests.processes.gate import Gate, Visitor
from tests.processes.patience import GUARD_SECONDS

ROOT: Final = Path(__file__).parents[2]
LOCAL: Final = ("--host", "127.0.0.1", "--no-dashboard")


class Program:
    """A process of the cluster, and what it has logged."""

    def __init__(self, module: str, *arguments: str, folder: Path, **environment: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{module}", *arguments],
            cwd=ROOT,
            env={**os.environ, "DASK_TEMPORARY_DIRECTORY": str(folder), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.pid = self._process.pid
        self._lines: list[str] = []
        self._ended = False
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._more:
                self._lines.append(line.rstrip("\n"))
                self._more.notify_all()
        with self._more:
            self._ended = True
            self._more.notify_all()

    def wait_line(self, pattern: str) -> re.Match[str]:
        with self._more:
            self._more.wait_for(lambda: self._ended or self._found(pattern) is not None, GUARD_SECONDS)
            found = self._found(pattern)
        assert found is not None, "\n".join([f"nothing like {pattern}:", *self._lines])
        return found

    def _found(self, pattern: str) -> re.Match[str] | None:
        return next((found for line in self._lines if (found := re.search(pattern, line))), None)

    def kill(self) -> None:
        self._process.kill()
        self.close()

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(GUARD_SECONDS)
        finally:
            self._process.kill()
            self._process.wait()
            self._reader.join()
            assert self._process.stdout is not None
            self._process.stdout.close()


class DaskCluster:
    """A scheduler, and workers of one process each."""

    def __init__(self, folder: Path, port: int = 0, **environment: str) -> None:
        self._folder = folder
        options = (*LOCAL, "--port", str(port), "--no-show")
        self._scheduler = Program("dask_scheduler", *options, folder=folder, **environment)
        self.workers: list[Program] = []
        try:
            self.address = self._scheduler.wait_line(r"Scheduler at:\s+(tcp://\S+)")[1]
        except BaseException:
            self.close()
            raise

    def add_workers(self, count: int, threads: int = 1) -> None:
        options = (*LOCAL, "--nworkers", "1", "--nthreads", str(threads), "--no-nanny", "--memory-limit", "0")
        more = [Program("dask_worker", self.address, *options, folder=self._folder) for _ in range(count)]
        self.workers += more
        for worker in more:
            worker.wait_line("Registered to:")

    def kill(self, pid: int) -> None:
        """End one worker at once."""
        [worker] = [worker for worker in self.workers if worker.pid == pid]
        self.workers.remove(worker)
        worker.kill()

    def kill_scheduler(self) -> None:
        self._scheduler.kill()

    def close(self) -> None:
        for program in (*self.workers, self._scheduler):
            program.close()


@asynccontextmanager
async def jobs_on(address: str, threads: int = 2, **settings: Any) -> AsyncIterator[Pool]:
    """A pool that knows of so many threads of the cluster."""
    pool = Pool(Settings(offload_backend="dask", **settings), lambda pool: DaskBackend(pool, address))
    client.install(pool)
    try:
        pool.backend.start()
        await has_threads(pool, threads)
        yield pool
    finally:
        await pool.close()
        client.uninstall(pool)


async def has_threads(pool: Pool, count: int) -> None:
    """Wait until the pool knows of so many."""
    while pool.backend.processes != count:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.005)
    assert pool.queue.processes == count


def on_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on the event loop that workers have."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(guarded(test(*args, **kwargs)))

    async def guarded(test: Coroutine[Any, Any, None]) -> None:
        async with asyncio.timeout(2 * GUARD_SECONDS):
            await test

    return run


async def entered(gate: Gate) -> Visitor:
    return await asyncio.to_thread(gate.wait_entered)


async def failure(job: Awaitable[Any]) -> BaseException:
    try:
        value = await job
    except Exception as error:
        return error
    raise AssertionError(f"it did not fail, but gave {value!r}")
