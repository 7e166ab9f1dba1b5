"""Blocking code in threads: what it sees, how many run, who waits and for how long, and what becomes of what hangs."""

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextvars import ContextVar
from typing import Any, NoReturn

import pytest

from prefork.children import thread
from prefork.children.home import home
from prefork.children.thread_pool import Threads
from prefork.errors import ChildError, ChildrenBusy
from tests.embedding import loops
from tests.processes.patience import GUARD_SECONDS

user: ContextVar[str] = ContextVar("user", default="nobody")


@pytest.fixture(params=loops.LOOPS)
def loop(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def run(loop: str, test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run it in a program of its own; its threads end with it."""

    async def at_home() -> None:
        await test()
        await home().close()

    loops.run(loop, at_home)


class Held:
    """A function that blocks its thread until the test lets it go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self._go = threading.Event()
        self.result: object = "done"

    def __call__(self) -> object:
        self.begun.set()
        assert self._go.wait(GUARD_SECONDS)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    def release(self) -> None:
        self._go.set()

    async def started(self) -> "asyncio.Task[object]":
        """A task that waits for it, once it blocks a thread."""
        task = asyncio.create_task(thread(self))
        await asyncio.sleep(0)
        assert await asyncio.to_thread(self.begun.wait, GUARD_SECONDS)
        return task


@pytest.fixture
def held() -> Iterator[Held]:
    held = Held()
    yield held
    held.release()


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets them as a program's environment does."""

    def set_(**values: object) -> None:
        for name, value in values.items():
            monkeypatch.setenv(f"PREFORK_{name.upper()}", str(value))

    return set_


def test_a_function_gets_its_arguments_and_the_callers_context_in_another_thread(loop: str) -> None:
    def look(*args: int, **kwargs: int) -> tuple[object, ...]:
        seen = user.get()
        user.set("changed over there")
        return args, kwargs, seen, threading.get_ident()

    async def test() -> None:
        user.set("ann")
        args, kwargs, seen, where = await thread(look, 1, 2, function=3)
        assert (args, kwargs, seen) == ((1, 2), {"function": 3}, "ann")
        assert where != threading.get_ident()
        assert user.get() == "ann"

    run(loop, test)


def test_what_a_function_raises_its_caller_gets(loop: str) -> None:
    def end_of(items: Iterator[int]) -> NoReturn:
        while True:
            next(items)

    async def test() -> None:
        with pytest.raises(FileNotFoundError, match="no such place"):
            await thread(os.stat, "/no such place")
        with pytest.raises(RuntimeError, match="StopIteration"):  # which no coroutine can raise
            await thread(end_of, iter([]))
        assert await thread(int, "7") == 7

    run(loop, test)


def test_as_many_run_as_there_are_threads_and_the_others_wait_in_order(
    loop: str, settings: Callable[..., None]
) -> None:
    settings(threads=3)

    async def test() -> None:
        together = threading.Barrier(3, timeout=GUARD_SECONDS)
        lock = threading.Lock()
        begun: list[int] = []
        running = most = 0

        def one(number: int) -> int:
            nonlocal running, most
            with lock:
                begun.append(number)
                running += 1
                most = max(most, running)
            together.wait()  # passes only when three threads are here at once
            with lock:
                running -= 1
            return number

        assert await asyncio.gather(*(thread(one, number) for number in range(9))) == list(range(9))
        assert most == 3
        assert [set(begun[at : at + 3]) for at in (0, 3, 6)] == [{0, 1, 2}, {3, 4, 5}, {6, 7, 8}]

    run(loop, test)


def test_who_finds_no_free_thread_in_time_is_refused_and_its_function_never_runs(
    loop: str, settings: Callable[..., None], held: Held
) -> None:
    settings(threads=1, children_wait_seconds=0)
    ran: list[int] = []

    async def test() -> None:
        first = await held.started()
        with pytest.raises(ChildrenBusy, match=r"all 1 threads are busy.*--threads.*within 0 s") as refused:
            await thread(ran.append, 1)
        assert (refused.value.status, refused.value.retry_after) == (503, 1)
        held.release()
        assert await first == "done"
        await thread(ran.append, 2)
        assert ran == [2]

    run(loop, test)


@pytest.mark.parametrize("how", ["refused", "cancelled"])
def test_a_call_that_gives_up_behind_other_users_of_the_threads_never_runs(
    loop: str, held: Held, how: str, settings: Callable[..., None]
) -> None:
    """Plain `def` handlers and asyncio.to_thread share the threads in a worker."""
    settings(threads=1, children_wait_seconds=0 if how == "refused" else 60)
    ran: list[int] = []

    async def test() -> None:
        other = asyncio.get_running_loop().run_in_executor(home().threads.executor, held)
        call = asyncio.create_task(thread(ran.append, 1))
        await asyncio.sleep(0)
        if how == "cancelled":
            call.cancel()
        with pytest.raises(ChildrenBusy if how == "refused" else asyncio.CancelledError):
            await call
        held.release()
        assert await other == "done"
        await asyncio.wait_for(thread(ran.append, 2), GUARD_SECONDS)
        assert ran == [2]

    run(loop, test)


def test_a_caller_that_is_cancelled_leaves_its_function_running_in_its_place(
    loop: str, settings: Callable[..., None], held: Held, caplog: pytest.LogCaptureFixture
) -> None:
    settings(threads=1)
    held.result = ValueError("of nobody's interest")

    async def test() -> None:
        first = await held.started()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        next_one = asyncio.create_task(thread(threading.get_ident))
        waiting, _ = await asyncio.wait(
            [next_one, asyncio.create_task(asyncio.sleep(0))], return_when="FIRST_COMPLETED"
        )
        assert next_one not in waiting
        held.release()
        await next_one

    with caplog.at_level(logging.ERROR, "prefork.children"):
        run(loop, test)
    (record,) = caplog.records
    assert (
        record.getMessage() == "tests.children.test_threads.Held failed in a thread when nobody waited for it any more"
    )
    assert record.exc_info is not None
    assert record.exc_info[1] is held.result


def test_an_error_that_comes_with_the_cancellation_of_the_caller_is_logged(
    loop: str, settings: Callable[..., None], held: Held, caplog: pytest.LogCaptureFixture
) -> None:
    settings(threads=1)
    held.result = ValueError("just then")

    async def test() -> None:
        call = await held.started()
        held.release()
        home().threads.executor.submit(int).result(GUARD_SECONDS)  # the one thread has finished it; we do not know yet
        asyncio.get_running_loop().call_soon(call.cancel)
        with pytest.raises(asyncio.CancelledError):
            await call

    with caplog.at_level(logging.ERROR, "prefork.children"):
        run(loop, test)
    assert len(caplog.records) == 1
    assert "just then" in caplog.text


def test_a_timeout_frees_the_caller(loop: str, held: Held) -> None:
    async def test() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await thread(held)
        held.release()

    run(loop, test)


def test_the_end_refuses_who_waits_and_names_what_hangs(
    loop: str, held: Held, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        threads = Threads(asyncio.get_running_loop(), 1, 60, 0.01, "prefork-test")
        first = asyncio.create_task(threads.run(held, (), {}))
        assert await asyncio.to_thread(held.begun.wait, GUARD_SECONDS)
        behind = asyncio.get_running_loop().run_in_executor(threads.executor, int)
        waits = [asyncio.create_task(threads.run(int, (), {})) for _ in range(2)]
        await asyncio.sleep(0)
        await threads.close()
        for waiting in waits:
            with pytest.raises(ChildError, match="stops"):
                await waiting
        assert behind.cancelled()
        with pytest.raises(ChildError, match="no more calls"):
            await threads.run(int, (), {})
        held.release()
        assert await first == "done"  # its caller was not cancelled

    run(loop, test)
    assert [record.getMessage() for record in caplog.records] == [
        "tests.children.test_threads.Held still runs in a thread, and ends with its process"
    ]


def test_the_end_drops_what_no_thread_has_begun(loop: str, held: Held) -> None:
    ran: list[int] = []

    async def test() -> None:
        threads = Threads(asyncio.get_running_loop(), 1, 60, 60, "prefork-test")
        other = asyncio.get_running_loop().run_in_executor(threads.executor, held)
        call = asyncio.create_task(threads.run(ran.append, (1,), {}))
        await asyncio.sleep(0)
        await threads.close()
        with pytest.raises(ChildError, match="append had no thread yet when the server stopped"):
            await call
        held.release()
        assert await other == "done"
        assert ran == []

    run(loop, test)


def test_what_runs_at_the_end_has_a_grace_time(loop: str, held: Held, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        threads = Threads(asyncio.get_running_loop(), 1, 60, GUARD_SECONDS, "prefork-test")
        first = asyncio.create_task(threads.run(held, (), {}))
        assert await asyncio.to_thread(held.begun.wait, GUARD_SECONDS)
        first.cancel()
        closing = asyncio.create_task(threads.close())
        await asyncio.sleep(0)
        assert not closing.done()
        held.release()
        await closing

    run(loop, test)
    assert caplog.records == []


def test_a_system_without_threads_is_an_error_and_costs_no_place(
    loop: str, settings: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings(threads=1)
    ran: list[int] = []

    def refuse(self: threading.Thread) -> NoReturn:
        raise RuntimeError("can't start new thread")

    async def test() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            for _ in range(3):
                with pytest.raises(ChildrenBusy, match="no thread can be started: can't start new thread"):
                    await thread(ran.append, 1)
        await thread(ran.append, 2)
        await thread(ran.append, 3)
        assert ran == [2, 3]  # what was refused has not run later

    run(loop, test)
