"""fork in a plain program: a real nursery, shared by all of these tests, and real children."""

import asyncio
import gc
import os
import signal
import socket
from collections import Counter
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest
import uvloop

from prefork import children
from prefork.children import Crashed, Disconnected, Exited, SharedBuffer, WithFds
from prefork.children.home import home
from prefork.errors import ChildCrashed, ChildDisconnected, ChildError, ChildNotStarted, Unsendable
from prefork.jobs.failures import RemoteTraceback
from tests.children import fork_targets as targets
from tests.processes.patience import GUARD_SECONDS
from tests.processes.proc import Death

LOOK_SECONDS = 0.002  # between two looks at what is open, which tells no one that it has changed
NAME = targets.__name__


class Program:
    """A plain program on one event loop. After each test, nothing of it may be left but the nursery."""

    def __init__(self, runner: "asyncio.Runner") -> None:
        self._runner = runner
        self.run(self._warm_up())

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        async def guarded() -> Any:
            async with asyncio.timeout(GUARD_SECONDS):
                return await coroutine

        return self._runner.run(guarded())

    async def _warm_up(self) -> None:
        async with await children.fork(targets.echo):
            pass
        await asyncio.get_running_loop().run_in_executor(None, os.getpid)

    def open(self) -> Counter[str]:
        """What is open here, by kind."""
        names = (f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd"))
        return Counter(os.readlink(name).partition(":")[0] for name in names if os.path.lexists(name))


@pytest.fixture(scope="module", params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def program(request: pytest.FixtureRequest) -> Iterator[Program]:
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield Program(runner)


@pytest.fixture(autouse=True)
def nothing_left(program: Program) -> Iterator[None]:
    before = program.open()
    yield

    for _ in range(int(GUARD_SECONDS / LOOK_SECONDS)):
        left = program.open() - before
        if not program.run(places_taken()) and not left:
            return
        gc.collect()  # tracebacks hold on to children
        program.run(asyncio.sleep(LOOK_SECONDS))
    raise AssertionError(f"left over: {left}")


async def places_taken() -> int:
    return home().places.taken


def test_messages_go_both_ways_in_order(program: Program) -> None:
    async def main(target: str) -> None:
        async with await children.fork(f"{NAME}:{target}") as child:

            async def feed() -> None:
                for number in range(1000):
                    await child.send({"number": number})
                child.disconnect()

            feeding = asyncio.create_task(feed())
            found = [message["number"] async for message in child]
            await feeding
            assert found == list(range(1000))
            assert await child.wait() == Exited(0)

    program.run(main("echo"))
    program.run(main("echo_async"))


def test_a_child_has_what_it_was_given_and_a_process_of_its_own(program: Program) -> None:
    async def main(fresh: bool) -> None:
        large = b"x" * 100_000
        child = await children.fork(targets.who, 1, {"two": large}, fresh=fresh)
        found = await child.receive()
        assert found["args"] == (1, {"two": large})
        assert found["pid"] == found["group"] == child.pid != os.getpid()
        assert found["threads"] == 1
        assert found["fresh"] == fresh
        assert await child.wait() == Exited(0)
        with pytest.raises(ChildDisconnected, match="has exited with status 0"):
            await child.receive()

    program.run(main(fresh=False))
    program.run(main(fresh=True))


def test_plain_data_goes_by_msgspec(program: Program) -> None:
    async def main() -> None:
        async with await children.fork(targets.echo, codec="msgspec", max_message=300_000) as child:
            for message in ({"rows": [1, None, "ä"]}, "x" * 200_000):
                await child.send(message)
                assert await child.receive() == message
            with pytest.raises(Unsendable, match="max_message = 300000"):
                await child.send("x" * 300_000)

    program.run(main())


def test_large_messages_go_both_ways(program: Program) -> None:
    async def main() -> None:
        async with await children.fork(targets.echo) as child:
            sent = [bytes([number]) * (number * 5_000_000) for number in range(1, 5)]  # the last is filled by a thread
            feeding = asyncio.gather(*map(child.send, sent))
            for message in sent:
                assert await child.receive() == message
            await feeding

    program.run(main())


def test_descriptors_and_sockets_go_both_ways(program: Program) -> None:
    async def main() -> None:
        async with await children.fork(targets.write_to_pipes) as child:
            reading, writing = os.pipe()
            one, other = socket.socketpair()
            await child.send("these", fds=[writing, other])
            os.close(writing)
            other.close()
            message = await child.receive()
            assert isinstance(message, WithFds)
            assert message.message == "these"
            with socket.socket(fileno=message.take()[0]) as came:
                assert came.recv(100) == b"and back"
            assert os.read(reading, 100) == b"hello"
            assert one.recv(100) == b"hello"
            os.close(reading)
            one.close()

    program.run(main())


def test_shared_memory_is_the_same_memory_in_the_child(program: Program) -> None:
    async def main() -> None:
        buffer = SharedBuffer(4096)
        async with await children.fork(targets.change, buffer) as child:
            await child.receive()
            await child.send(buffer)
            await child.receive()
            assert bytes(buffer.view[:2]) == b"\1\2"
        async with await children.fork(targets.echo, codec="msgspec") as child:
            with pytest.raises(Unsendable, match=r"shared memory.*codec='pickle'"):
                await child.send(buffer)

    program.run(main())


def test_other_tasks_of_the_child_run_while_it_waits(program: Program) -> None:
    async def main() -> None:
        async with await children.fork(targets.answer_beside_a_task, 100) as child:
            for number in range(100):
                await child.send(number)
                assert await child.receive() == number
            assert await child.receive() == {"turned": True}

    program.run(main())


@pytest.mark.parametrize("size", [0, 100_000])
def test_a_child_that_nobody_reads_waits_and_so_does_who_sends_to_one_that_reads_nothing(
    program: Program, size: int
) -> None:
    async def main() -> None:
        async with await children.fork(targets.flood, size) as child:
            assert (await child.receive())[0] == 0
            for number in range(1, 2000 if size == 0 else 100):
                assert (await child.receive())[0] == number
        async with await children.fork(targets.read_nothing) as child:
            await child.receive()
            sent = 0
            while (send := asyncio.create_task(child.send(bytes(size)))) and sent < 1000:
                for _ in range(5):  # turns of the loop, one of which it may give away
                    await asyncio.sleep(0)
                if not send.done():
                    break
                sent += 1
            assert not send.done(), "there is no bound"
            child.kill()
            with pytest.raises(ChildDisconnected, match=r"was ended by SIG(TERM|KILL)"):
                await send

    program.run(main())


@pytest.mark.parametrize("target", ["boom", "boom_async"])
def test_what_the_target_raises_is_raised_here_with_its_traceback(program: Program, target: str) -> None:
    async def main() -> None:
        child = await children.fork(f"{NAME}:{target}", 7)
        assert await anext(child) == "before"
        with pytest.raises(ChildCrashed, match=r"has raised Peculiar: number 7") as raised:
            await anext(child)
        assert raised.value.signal is None
        cause = raised.value.__cause__
        assert isinstance(cause, targets.Peculiar)
        assert cause.number == 7
        assert isinstance(cause.__cause__, RemoteTraceback)
        assert f"in {target}" in cause.__cause__.text
        event = await child.wait()
        assert isinstance(event, Crashed)
        assert event.error is cause
        with pytest.raises(ChildCrashed):
            await child.send("too late")

    program.run(main())


def test_a_crash_is_told_with_its_signal_and_stack(program: Program) -> None:
    async def main() -> None:
        child = await children.fork(targets.crash)
        assert await child.receive() == "before"
        with pytest.raises(ChildCrashed, match="was killed: signal SIGSEGV") as raised:
            await child.receive()
        assert raised.value.signal == signal.SIGSEGV
        assert "in crash" in raised.value.stack
        assert "in call_target" not in raised.value.stack
        assert isinstance(child.event, Crashed)

    program.run(main())


def test_an_exit_is_told_with_its_status_and_ends_the_iteration(program: Program) -> None:
    async def main(target: str, status: int, found: list[str]) -> None:
        child = await children.fork(f"{NAME}:{target}", status)
        assert [message async for message in child] == found
        assert child.event == await child.wait() == Exited(status)

    program.run(main("leave", 0, ["before"]))
    program.run(main("leave", 3, ["before"]))
    program.run(main("leave_at_once", 4, []))


def test_a_child_that_disconnects_runs_on(program: Program) -> None:
    async def main() -> None:
        child = await children.fork(targets.disconnect)
        assert [message async for message in child] == ["before"]
        assert child.event == Disconnected()
        os.kill(child.pid, 0)
        with pytest.raises(ChildDisconnected, match="has disconnected") as raised:
            await child.send("anybody there?")
        assert type(raised.value) is ChildDisconnected
        child.terminate()
        assert await child.wait() == Exited(-signal.SIGTERM)

    program.run(main())


def test_a_child_that_closes_its_channel_by_itself_has_disconnected(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prefork.children.forks.forked_child.GONE_SECONDS", 0.01)

    async def main() -> None:
        async with await children.fork(targets.close_channel) as child:
            assert [message async for message in child] == []
            assert child.event == Disconnected()

    program.run(main())


def test_who_ignores_sigterm_is_killed_after_its_grace(program: Program) -> None:
    async def main() -> None:
        child = await children.fork(targets.ignore_sigterm)
        await child.receive()
        child.terminate(grace=0.05)
        assert await child.wait() == Exited(-signal.SIGKILL)

    program.run(main())


def test_an_async_def_runs_on_a_loop_also_when_a_decorator_hides_it(program: Program) -> None:
    async def main() -> None:
        child = await children.fork(f"{NAME}:decorated")
        assert await child.receive() == "ran"
        assert await child.wait() == Exited(0)

    program.run(main())


def test_tasks_of_a_child_whose_parent_disconnects_end_it_quietly(program: Program) -> None:
    async def main() -> None:
        child = await children.fork(targets.read_in_a_group)
        child.disconnect()
        assert await child.wait() == Exited(0)

    program.run(main())


def test_the_end_of_a_child_is_the_end_of_what_it_has_started(program: Program) -> None:
    async def main() -> None:
        async with await children.fork(targets.fork_grandchild) as child:
            death = Death(await child.receive())
        await asyncio.to_thread(death.wait)
        # By itself, too; and who holds its channel open does not hold us.
        child = await children.fork(targets.fork_grandchild)
        death = Death(await child.receive())
        await child.send("exit")
        assert [message async for message in child] == []
        assert child.event == Exited(7)
        await asyncio.to_thread(death.wait)

    program.run(main())


def test_a_child_that_nothing_refers_to_is_ended_unless_it_was_told_not_to_be(program: Program) -> None:
    async def main() -> None:
        child = await children.fork(targets.read_nothing)
        death = Death(child.pid)
        kept = await children.fork(targets.read_nothing, bound=False)
        pid = kept.pid
        del child, kept
        await asyncio.to_thread(death.wait)
        os.kill(pid, 0)
        os.kill(pid, signal.SIGKILL)

    program.run(main())


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("no_such_module:f", "no_such_module:f: there is no module no_such_module$"),
        ("json.no_such_module:f", "there is no module json.no_such_module$"),
        (f"{NAME}:no_such", "tests.children.fork_targets has no no_such$"),
        (f"{NAME}:not_callable", "no function, but of type int"),
        (f"{NAME}:generate", "is a generator"),
        (f"{NAME}:who.x.y", "has no who.x.y"),
        ("just_a_name", "'just_a_name' names no function: write 'module:function'"),
    ],
)
def test_a_target_that_is_none_is_told_by_name(program: Program, target: str, words: str) -> None:
    async def main() -> None:
        with pytest.raises(ChildNotStarted, match=words):
            await children.fork(target)

    program.run(main())


def test_a_module_that_cannot_be_imported_is_told_with_its_traceback(program: Program, tmp_path: Any) -> None:
    """And it spoils nothing for others."""
    (tmp_path / "broken_target.py").write_text("import json\nraise OSError('the disk is on fire')\n")

    async def main() -> None:
        async with await children.fork(targets.echo) as child:
            await child.send(1)
            assert await child.receive() == 1
        with pytest.raises(ChildNotStarted, match=r"cannot be called:\n(.*\n)*.*ModuleNotFoundError"):
            await children.fork(f"{NAME}_of:imports_what_is_missing")
        with pytest.raises(ChildNotStarted, match="cannot be called:"):
            await children.fork(targets.echo, Unloadable())

    program.run(main())


class Unloadable:
    """Its pickle cannot be read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return int, ("not a number",)


def test_what_cannot_be_a_target_or_an_argument_is_refused_here(program: Program) -> None:
    async def main() -> None:
        with pytest.raises(Unsendable, match="is a lambda; a child finds functions by name"):
            await children.fork(lambda: None)
        with pytest.raises(Unsendable, match="cannot be pickled"):
            await children.fork(targets.who, (number for number in range(3)))
        with pytest.raises(ValueError, match="codec is one of pickle, msgspec"):
            await children.fork(targets.who, codec="json")  # type: ignore[arg-type]

    program.run(main())


def test_a_fork_that_is_cancelled_leaves_nothing(program: Program) -> None:
    async def main() -> None:
        tasks = [asyncio.create_task(children.fork(targets.echo)) for _ in range(10)]
        for turn, task in enumerate(tasks):
            for _ in range(turn):
                await asyncio.sleep(0)
            task.cancel()
        await asyncio.wait(tasks)

    program.run(main())


def test_a_nursery_that_dies_takes_its_children_along_and_another_takes_its_place(program: Program) -> None:
    async def main() -> None:
        child = await children.fork(targets.read_nothing)
        await child.receive()
        os.kill(parent_of(child.pid), signal.SIGKILL)
        event = await child.wait()
        assert isinstance(event, Crashed)
        assert event.signal == signal.SIGKILL
        with pytest.raises(ChildError):
            await child.send(1)
        async with await children.fork(targets.echo) as child:
            await child.send(1)
            assert await child.receive() == 1

    program.run(main())


def parent_of(pid: int) -> int:
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])
