"""Children of apps that a Server serves: bounded as its options say, and gone with it."""

import asyncio
import os
import select

import pytest

from prefork import Request, Server, children
from prefork.errors import ChildError, ChildrenBusy
from tests.embedding.loops import LOOPS, run
from tests.embedding.servers import get
from tests.embedding.site import saying

pytestmark = pytest.mark.parametrize("loop", LOOPS)


@pytest.fixture(autouse=True, scope="module")
def guarded() -> None:
    """The guard comes with a process's first program and stays: it is there before a test counts."""
    asyncio.run(children.exec_file("true"))


def test_a_child_that_no_request_owns_goes_with_the_server(loop: str) -> None:
    async def test() -> None:
        started = []

        async def handler(request: Request) -> str:
            started.append(await children.spawn("sleep", "3600", bound=False))
            return str(started[-1].pid)

        async with Server(handler) as server:
            end = os.pidfd_open(int((await get(server.url)).text))
            assert not select.select([end], [], [], 0)[0], "it outlives its request"
        assert select.select([end], [], [], 0)[0], "it has ended"
        os.close(end)

    run(loop, test)


def test_a_childs_request_is_known_from_the_first_one_on(loop: str) -> None:
    async def test() -> None:
        ends = []

        async def handler(request: Request) -> str:
            child = await children.spawn("sleep", "3600")
            ends.append((os.pidfd_open(child.pid), child))
            return "left it running"

        async with Server(handler) as server:
            await get(server.url)
            ((end, child),) = ends
            with pytest.raises(ChildError, match="the request that it belonged to is over"):
                await child.wait()
            assert select.select([end], [], [], 0)[0], "it has ended with its request"
        os.close(end)

    run(loop, test)


def test_how_many_run_is_an_option_of_the_server(loop: str) -> None:
    async def test() -> None:
        async def handler(request: Request) -> str:
            async with await children.spawn("sleep", "3600"):
                with pytest.raises(ChildrenBusy, match="1 children run"):
                    await children.spawn("true")
            return "bounded"

        async with Server(handler, max_children=1, children_wait_seconds=0.0) as server:
            assert (await get(server.url)).text == "bounded"
        async with Server(saying("x")) as server, await children.spawn("sleep", "3600"):
            await children.exec_file("true", check=True)

    run(loop, test)
