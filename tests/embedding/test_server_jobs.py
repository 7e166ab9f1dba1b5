"""Offload from apps that a Server serves: in processes that a nursery forks, and that go with the server."""

import os
import select
from typing import Any

import pytest

from prefork import Request, Server, offload
from prefork.jobs import client, standalone
from tests.embedding import jobs
from tests.embedding.loops import LOOPS, run
from tests.embedding.servers import get
from tests.embedding.site import saying

pytestmark = pytest.mark.parametrize("loop", LOOPS)


def test_offload_works_and_its_processes_go_with_the_server(loop: str) -> None:
    async def test() -> None:
        async def handler(request: Request) -> str:
            return f"{await offload(jobs.double, 21)} {await offload(jobs.pid)}"

        async with Server(handler, offload_max=1) as server:
            number, pid = (await get(server.url, timeout=30)).text.split()
            assert number == "42"
            end = os.pidfd_open(int(pid))
            pool = client.installed()
            assert pool is not None
            assert pool.settings.offload_max == 1
        assert client.installed() is None
        assert select.select([end], [], [], 0)[0], "it has ended"
        os.close(end)

    run(loop, test)


def test_the_last_server_of_a_loop_takes_the_offloaders_along(loop: str) -> None:
    async def test() -> None:
        async def handler(request: Request) -> str:
            return str(await offload(jobs.double, 21))

        async with Server(handler) as first:
            async with Server(handler) as second:
                assert (await get(second.url, timeout=30)).text == "42"
            assert client.installed() is not None
            assert (await get(first.url, timeout=30)).text == "42"
        assert client.installed() is None

    run(loop, test)


def test_offloaders_that_the_program_had_before_stay(loop: str) -> None:
    async def test() -> None:
        assert await offload(jobs.double, 1) == 2
        pool = client.installed()
        async with Server(saying("x")) as server:
            await get(server.url)
        assert client.installed() is pool
        assert await offload(jobs.double, 2) == 4
        assert pool is not None
        await standalone.close_pool(pool)

    run(loop, test)


def test_a_job_that_nobody_waits_for_is_finished_before_the_stop(loop: str) -> None:
    async def test() -> None:
        started: list[Any] = []

        async def handler(request: Request) -> str:
            started.append(offload.start(jobs.double, 21))
            return "started"

        async with Server(handler) as server:
            assert (await get(server.url)).text == "started"
        assert await started[0] == 42

    run(loop, test)
