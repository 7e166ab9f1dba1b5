"""fork without processes: whoever forks is played by the test, so that what it reports can be anything."""

import asyncio
import errno
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from prefork import children
from prefork.children import Crashed, Exited, ForkedChild
from prefork.children.forks import packets
from prefork.children.forks.line import HEAVY_PACKETS, Line
from prefork.children.forks.to_parent import open_line
from prefork.children.home import Home, install
from prefork.errors import ChildCrashed, ChildDisconnected, ChildNotStarted
from prefork.jobs import context
from prefork.jobs.spawner import ChannelSpawner
from prefork.settings import Settings
from prefork.system.channel import Channel, adopt

NAME = "tests.children.fork_targets:echo"


class Forker(ChannelSpawner):
    """Notes what is ordered. `starts`: the child that it forks at once says that it is ready."""

    def __init__(self, loop: asyncio.AbstractEventLoop, starts: bool = True) -> None:
        self._ours, self._theirs = Channel.pair()
        super().__init__(self._ours, loop, "child")
        self.starts = starts
        self.ordered: list[int] = []
        self.ended: list[tuple[int, float]] = []
        self.ends: dict[int, Line] = {}  # what the children hold

    def order(self, number: int, descriptors: Sequence[int]) -> None:
        self.ordered.append(number)
        if not self.starts:
            return
        channel = adopt(os.dup(descriptors[0]))
        _, line = open_line(channel)
        line.take()
        ready = packets.pack(packets.READY, 1000 + number)
        assert line.offer(ready)
        self.ends[number] = line

    def end(self, number: int, grace: float) -> None:
        self.ended.append((number, grace))

    def close(self) -> None:
        for line in self.ends.values():
            line.close()
        self._ours.close()
        self._theirs.close()

    def gone(self, number: int, status: int | None, out_of_memory: bool = False, reason: str = "") -> None:
        """Report the end of a child; as after a real one, its channel is closed."""
        if number in self.ends:
            self.ends[number].close()
        self.on_gone(number, status, out_of_memory, reason)


def run(program: Callable[[Forker, Home], Awaitable[None]], starts: bool = True, **settings: Any) -> None:
    """Run a program with a home of its own; hold that no descriptor of it is left."""
    before = sorted(os.listdir("/proc/self/fd"))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        forker = Forker(loop, starts)
        home = Home(loop, Settings(**settings), lambda role, modules: forker)
        install(home)
        await program(forker, home)
        for number in forker.ordered:
            forker.gone(number, signal.SIGKILL)  # what is gone already is not reported twice
        assert home.places.taken == 0
        await home.close()

    asyncio.run(main())
    assert sorted(os.listdir("/proc/self/fd")) == before


async def turn() -> None:
    """Let what is ready run."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_child_that_is_never_forked_is_told_with_the_reason_and_its_place_is_free() -> None:
    async def program(forker: Forker, home: Home) -> None:
        forking = asyncio.create_task(children.fork(NAME))
        await turn()
        assert home.places.taken == 1
        forker.gone(1, None, reason="its mold has died")
        with pytest.raises(ChildNotStarted, match=f"{NAME}: its mold has died"):
            await forking
        assert home.places.taken == 0

    run(program, starts=False)


def test_a_child_that_ends_before_it_is_ready_is_told_with_its_status() -> None:
    async def program(forker: Forker, home: Home) -> None:
        for number, (status, words) in enumerate(
            [(signal.SIGSEGV, "was killed: signal SIGSEGV"), (3 << 8, "has exited with status 3")], 1
        ):
            forking = asyncio.create_task(children.fork(NAME))
            await turn()
            forker.gone(number, status)
            with pytest.raises(ChildNotStarted, match=words):
                await forking

    run(program, starts=False)


def test_a_child_that_closes_its_channel_before_it_is_ready_is_told_of_and_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("prefork.children.forks.forked_child.GONE_SECONDS", 0.01)

    async def program(forker: Forker, home: Home) -> None:
        forking = asyncio.create_task(children.fork(NAME))
        await turn()
        forker.on_forked(1, 1001)  # from now on, nobody but the child has its end
        with pytest.raises(ChildNotStarted, match="has closed its channel"):
            await forking
        assert forker.ended == [(1, home.settings.children_grace_seconds)]

    run(program, starts=False)


def test_without_descriptors_nothing_is_ordered_and_the_place_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.memfd_create
    fails = True

    def memfd_create(name: str, flags: int = 0) -> int:
        if fails:
            raise OSError(errno.EMFILE, "Too many open files")
        return real(name, flags)

    monkeypatch.setattr(os, "memfd_create", memfd_create)

    async def program(forker: Forker, home: Home) -> None:
        nonlocal fails
        with pytest.raises(ChildNotStarted, match="Too many open files"):
            await children.fork(NAME)
        assert not forker.ordered
        assert home.places.taken == 0
        fails = False
        await children.fork(NAME)
        assert forker.ordered

    run(program)


def test_arguments_may_be_larger_than_what_else_may_be_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prefork.children.forks.line.HEAVY_BYTES", 100_000)

    async def program(forker: Forker, home: Home) -> None:
        child = await children.fork(NAME, b"x" * 200_000)
        sending = [asyncio.create_task(child.send(None, fds=[0])) for _ in range(HEAVY_PACKETS + 1)]
        await turn()
        assert [task.done() for task in sending] == [True] * HEAVY_PACKETS + [False]
        forker.ends[1].take()
        await asyncio.gather(*sending)

    run(program)


def test_a_place_is_free_when_the_process_is_gone_and_not_before() -> None:
    async def program(forker: Forker, home: Home) -> None:
        child = await children.fork(NAME)
        child.disconnect()
        child.terminate()
        assert home.places.taken == 1
        forker.gone(1, 0)
        assert home.places.taken == 0

    run(program)


def test_a_child_is_ended_with_the_request_that_has_it() -> None:
    async def program(forker: Forker, home: Home) -> None:
        found: list[ForkedChild] = []

        async def handler() -> None:
            found.append(await children.fork(NAME))
            found.append(await children.fork(NAME, bound=False))
            await asyncio.create_task(helper())
            assert not forker.ended

        async def helper() -> None:
            found.append(await children.fork(NAME))

        async def request() -> None:
            context.handling.set(asyncio.current_task())
            await handler()

        await asyncio.create_task(request())
        await turn()
        assert sorted(forker.ended) == [(1, 0.25), (3, 0.25)]
        assert [child.event for child in found] == [None, None, None]
        forker.gone(1, signal.SIGTERM)
        assert found[0].event == Exited(-signal.SIGTERM)

    run(program, children_grace_seconds=0.25)


def test_a_child_that_is_gone_is_not_ended_with_its_request() -> None:
    async def program(forker: Forker, home: Home) -> None:
        async def request() -> None:
            context.handling.set(asyncio.current_task())
            child = await children.fork(NAME)
            forker.gone(1, 0)
            assert await child.wait() == Exited(0)

        await asyncio.create_task(request())
        await turn()
        assert not forker.ended

    run(program)


def test_a_signal_that_we_did_not_send_is_a_crash_even_if_we_end_it_too() -> None:
    async def program(forker: Forker, home: Home) -> None:
        told = [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV]
        asked = [await children.fork(NAME) for _ in told]
        unasked = [await children.fork(NAME) for _ in told]
        for child in asked:
            child.terminate()
        for number, status in enumerate(told * 2, 1):
            forker.gone(number, status)
        assert [child.event for child in asked] == [Exited(-15), Exited(-9), Crashed(11)]
        assert [child.event for child in unasked] == [Crashed(15), Crashed(9), Crashed(11)]

    run(program)


def test_a_kill_for_lack_of_memory_is_told_as_such() -> None:
    async def program(forker: Forker, home: Home) -> None:
        child = await children.fork(NAME)
        forker.gone(1, signal.SIGKILL, out_of_memory=True)
        with pytest.raises(ChildCrashed, match="for lack of memory") as raised:
            await child.receive()
        assert raised.value.out_of_memory
        assert child.event == Crashed(signal.SIGKILL, out_of_memory=True)

    run(program)


def test_who_waits_for_a_message_is_told_that_the_child_is_gone() -> None:
    async def program(forker: Forker, home: Home) -> None:
        child = await children.fork(NAME)
        receiving = [asyncio.create_task(child.receive()) for _ in range(2)]
        iterating = asyncio.create_task(anext(child, "the end"))
        await turn()
        forker.gone(1, 3 << 8)
        for task in receiving:
            with pytest.raises(ChildDisconnected, match="has exited with status 3"):
                await task
        assert await iterating == "the end"
        with pytest.raises(ChildDisconnected, match="has exited with status 3"):
            await child.send(1)

    run(program)


def test_what_a_child_sent_last_can_be_received_after_its_end() -> None:
    async def program(forker: Forker, home: Home) -> None:
        child = await children.fork(NAME)
        line = forker.ends[1]
        for value in ("one", b"x" * 100_000):
            packet = line.pack(value)
            assert line.offer(packet)
            packet.close()
        forker.gone(1, 0)
        assert await child.wait() == Exited(0)
        assert [message async for message in child] == ["one", b"x" * 100_000]

    run(program)


def test_the_end_of_the_home_ends_all_and_waits_for_it() -> None:
    async def program(forker: Forker, home: Home) -> None:
        bound = await children.fork(NAME)
        free = await children.fork(NAME, bound=False)
        closing = asyncio.create_task(home.close())
        await turn()
        assert forker.ended == [(1, 1.0), (2, 1.0)]
        assert not closing.done()
        forker.gone(1, signal.SIGTERM)
        forker.gone(2, signal.SIGTERM)
        await closing
        assert bound.event == free.event == Exited(-signal.SIGTERM)

    run(program)


def test_the_end_of_async_with_waits_for_the_process() -> None:
    async def program(forker: Forker, home: Home) -> None:
        async def use() -> ForkedChild:
            async with await children.fork(NAME) as child:
                pass
            return child

        using = asyncio.create_task(use())
        while not forker.ended:
            await turn()
        assert not using.done()
        forker.gone(1, signal.SIGTERM)
        child = await using
        assert child.event == Exited(-signal.SIGTERM)
        assert repr(child) == f"<ForkedChild {NAME} pid 1001 Exited(status=-15)>"

    run(program)
