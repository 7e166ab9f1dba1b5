"""Pool, backend and real runners together on a real event loop; only that each runner has a thread, not a process."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from prefork.jobs import client, runner
from prefork.jobs.client import offload
from prefork.jobs.local import LocalBackend
from prefork.jobs.payload import BIG_BYTES
from prefork.jobs.pool import Pool
from prefork.jobs.runner import Runner
from prefork.settings import Settings
from prefork.system.channel import adopt
from tests.jobs import work
from tests.jobs.ends import close_arenas
from tests.processes.patience import GUARD_SECONDS

Run = Callable[[Coroutine[Any, Any, None]], None]

SETTINGS = Settings(offload_nice=0, offload_queue=100_000, offload_wait_seconds=1000)


class ThreadSpawner:
    """An offloader is a thread."""

    def __init__(self) -> None:
        self.on_forked: Callable[[int, int], None] = lambda number, pid: None
        self.on_gone: Callable[[int, int | None, bool, str], None] = lambda number, status, oom, reason: None
        self._loop = asyncio.get_running_loop()

    def order(self, number: int, descriptors: list[int]) -> None:
        threading.Thread(target=self._live, args=(number, os.dup(descriptors[0])), daemon=True).start()

    def end(self, number: int, grace: float) -> None:
        raise AssertionError("a thread cannot be ended")

    def close(self) -> None: ...

    def _live(self, number: int, descriptor: int) -> None:
        with adopt(descriptor) as channel:
            channel.setblocking(True)
            offloader = Runner(channel, SETTINGS)
            offloader.start()
            offloader.serve()
            close_arenas(offloader)
        self._loop.call_soon_threadsafe(self.on_gone, number, 0, False, "")


@asynccontextmanager
async def pool_of(processes: int) -> AsyncIterator[None]:
    spawner = ThreadSpawner()
    pool = Pool(SETTINGS, lambda pool: LocalBackend(pool, spawner, processes))
    client.install(pool)
    try:
        async with asyncio.timeout(GUARD_SECONDS):
            yield
            await pool.close()
    finally:
        client.uninstall(pool)


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a coroutine on a loop of either kind."""
    monkeypatch.setattr(runner, "current", None)
    way: Run = request.param
    return way


@pytest.mark.parametrize("processes", [1, 3])
def test_of_many_small_jobs_each_gets_its_own_result(run: Run, processes: int) -> None:
    async def main() -> None:
        async with pool_of(processes):
            results = await asyncio.gather(*(offload(work.echo, number) for number in range(2000)))
        assert results == [((number,), {}) for number in range(2000)]

    run(main())


def test_errors_among_results_reach_who_caused_them(run: Run) -> None:
    async def main() -> None:
        async with pool_of(2):
            results = await asyncio.gather(
                *(offload(fail_now_and_then, number) for number in range(500)), return_exceptions=True
            )
        assert [repr(result) for result in results] == [f"KeyError({n})" if n % 7 == 0 else f"{n}" for n in range(500)]

    run(main())


def fail_now_and_then(number: int) -> int:
    if number % 7 == 0:
        raise KeyError(number)
    return number


def test_large_calls_and_small_ones_do_not_mix(run: Run) -> None:
    async def one(number: int) -> None:
        size = BIG_BYTES * (number % 5) * (number % 3)
        assert await offload(work.checksum, bytes([number % 256]) * size) == number % 256 * size

    async def main() -> None:
        async with pool_of(2):
            await asyncio.gather(*(one(number) for number in range(300)))

    run(main())


def test_large_results_of_quick_jobs_are_those_of_their_jobs(run: Run) -> None:
    """A job behind another runs before the result of that one has been read."""

    async def main() -> None:
        async with pool_of(1):
            results = await asyncio.gather(
                *(offload(work.pattern, number, BIG_BYTES if number % 3 else 1) for number in range(400))
            )
        assert [int.from_bytes(result[:4], "big") for result in results] == list(range(400))
        assert all(result == result[:4] * (len(result) // 4) for result in results)

    run(main())


def test_streams_run_beside_each_other_and_beside_jobs(run: Run) -> None:
    async def stream(count: int, size: int) -> None:
        items = [item async for item in offload.stream(work.count, count, size)]
        assert items == [number if size == 1 else work.pattern(number, size) for number in range(count)]

    async def main() -> None:
        async with pool_of(2):
            await asyncio.gather(
                *(stream(200, 1) for _ in range(5)),
                *(stream(20, BIG_BYTES) for _ in range(5)),
                *(offload(work.double, number) for number in range(200)),
            )

    run(main())


def test_a_map_over_many_items_keeps_their_order(run: Run) -> None:
    async def main() -> None:
        async with pool_of(2):
            assert [result async for result in offload.map(work.double, range(1000))] == [2 * n for n in range(1000)]

    run(main())


def test_progress_reaches_the_caller_while_the_job_runs(run: Run) -> None:
    async def main() -> None:
        async with pool_of(1):
            job = offload.start(tell_and_wait, 3)
            fractions = []
            async for report in job.progress():
                fractions.append(report.fraction)
                work.kept.append(report)
            assert fractions == [0, 1, 2]
            assert await job == "end"

    work.kept.clear()
    run(main())
    work.kept.clear()


def tell_and_wait(count: int) -> str:
    """Goes on when each report has been seen."""
    for number in range(count):
        offload.progress(number)
        while len(work.kept) <= number:
            threading.Event().wait(0)
    return "end"
