"""One at a time holds a lock, whoever they are; when its holder dies, the next one gets it and is told."""

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import uvloop

from prefork.children import SharedBuffer, SharedLock
from tests.children.forks import Fork, Signpost
from tests.children.test_shared_buffer import memfds, sent

GUARD_SECONDS = 30.0
MOMENT_SECONDS = 0.01  # a time limit that is meant to pass


@pytest.fixture
def lock() -> SharedLock:
    return SharedLock()


@pytest.fixture
def post() -> Iterator[Signpost]:
    post = Signpost()
    yield post
    post.close()


def hold(lock: SharedLock, post: Signpost) -> None:
    """Take it, say so, and keep it until death."""
    lock.acquire()
    post.reached()
    threading.Event().wait()


@pytest.fixture
def holder(lock: SharedLock, post: Signpost) -> Iterator[Fork]:
    """Another process that holds it."""
    with Fork(hold, lock, post) as fork:
        post.wait()
        yield fork


def buffer_of(lock: SharedLock) -> SharedBuffer:
    _, (buffer, _) = lock.__reduce__()
    return buffer


def run(main: Callable[[], Any]) -> None:
    """Under the loop that workers have."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


async def waiting(lock: SharedLock) -> "asyncio.Task[None]":
    """A task that waits for it: the thread that does so on its behalf is there."""
    task = asyncio.create_task(lock.acquire_async())
    async with asyncio.timeout(GUARD_SECONDS):
        while not any(thread.name == "prefork-lock" for thread in threading.enumerate()):  # noqa: ASYNC110
            await asyncio.sleep(0)  # nothing tells when a thread has started
    return task


def wait_for_threads() -> None:
    """Wait until no thread waits for a lock any more."""
    for thread in threading.enumerate():
        if thread.name == "prefork-lock":
            thread.join(GUARD_SECONDS)
            assert not thread.is_alive()


def test_processes_exclude_each_other(lock: SharedLock) -> None:
    with SharedBuffer(8) as buffer:
        word = buffer.view.cast("q")

        def count() -> None:
            for _ in range(2000):
                with lock:
                    was = word[0]
                    os.sched_yield()
                    word[0] = was + 1

        with ExitStack() as stack:
            forks = [stack.enter_context(Fork(count)) for _ in range(3)]
            assert [fork.wait() for fork in forks] == [0, 0, 0]
        assert word[0] == 6000
        word.release()


def test_threads_and_coroutines_of_several_processes_exclude_each_other(lock: SharedLock) -> None:
    with SharedBuffer(8) as buffer:
        word = buffer.view.cast("q")

        def in_thread() -> None:
            for _ in range(200):
                with lock:
                    was = word[0]
                    os.sched_yield()
                    word[0] = was + 1

        async def in_coroutine() -> None:
            for _ in range(200):
                async with lock:
                    was = word[0]
                    await asyncio.sleep(0)
                    word[0] = was + 1

        async def main() -> None:
            threads = [asyncio.to_thread(in_thread) for _ in range(2)]
            await asyncio.gather(*threads, in_coroutine(), in_coroutine())

        with ExitStack() as stack:
            forks = [stack.enter_context(Fork(run, main)) for _ in range(2)]
            assert [fork.wait() for fork in forks] == [0, 0]
        assert word[0] == 2 * 4 * 200
        word.release()


def test_a_lock_that_was_sent_excludes_the_one_it_was_made_from(lock: SharedLock) -> None:
    other = sent(lock)
    assert isinstance(other, SharedLock)
    with lock:
        assert not other.acquire(0)
    with other:
        assert not lock.acquire(0)


def test_one_that_is_held_elsewhere_is_not_had_in_time(lock: SharedLock, holder: Fork) -> None:
    assert not lock.acquire(0)
    assert not lock.acquire(MOMENT_SECONDS)
    assert not lock.held


def test_one_that_is_held_in_another_thread_is_not_had_in_time(lock: SharedLock) -> None:
    with lock:
        found = []
        thread = threading.Thread(target=lambda: found.extend([lock.acquire(0), lock.acquire(MOMENT_SECONDS)]))
        thread.start()
        thread.join()
        assert found == [False, False]
    assert lock.acquire(0)
    lock.release()


@pytest.mark.parametrize("timeout", [None, GUARD_SECONDS])
def test_when_its_holder_is_killed_one_who_waits_gets_it_and_is_told(
    lock: SharedLock, holder: Fork, post: Signpost, timeout: float | None
) -> None:
    def wait() -> None:
        assert not lock.acquire(0)
        post.reached()
        assert lock.acquire(timeout)
        assert lock.abandoned
        lock.release()
        with lock:
            assert not lock.abandoned, "it is set right"

    with Fork(wait) as waiter:
        post.wait()
        holder.kill()
        assert waiter.wait() == 0
    with lock:
        assert not lock.abandoned


def test_when_its_holder_is_killed_a_coroutine_that_waits_gets_it_and_is_told(lock: SharedLock, holder: Fork) -> None:
    async def main() -> None:
        task = await waiting(lock)
        assert not task.done()
        holder.kill()
        async with asyncio.timeout(GUARD_SECONDS):
            await task
        assert lock.held
        assert lock.abandoned
        lock.release()
        async with lock:
            assert not lock.abandoned

    run(main)


def test_when_the_one_who_got_it_from_the_dead_dies_too_the_next_is_told_as_well(
    lock: SharedLock, holder: Fork, post: Signpost
) -> None:
    holder.kill()
    with Fork(hold, lock, post) as second:
        post.wait()
        second.kill()
    with lock:
        assert lock.abandoned


def test_an_exception_within_is_no_death(lock: SharedLock) -> None:
    with pytest.raises(KeyError), lock:
        raise KeyError
    with lock:
        assert not lock.abandoned


def test_one_who_stops_waiting_does_not_keep_it_from_others(lock: SharedLock, holder: Fork) -> None:
    async def main() -> None:
        task = await waiting(lock)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(MOMENT_SECONDS), lock:
                pass
        holder.kill()
        async with asyncio.timeout(GUARD_SECONDS), lock:
            assert lock.abandoned

    run(main)
    assert not lock.held


def test_what_comes_when_nobody_waits_any_more_is_let_go_of(lock: SharedLock, holder: Fork) -> None:
    assert not lock.acquire(MOMENT_SECONDS)
    holder.kill()
    wait_for_threads()
    other = sent(lock)
    assert isinstance(other, SharedLock)
    with other:
        assert other.abandoned, "the one who had left took it for nobody, and set nothing right"
    with lock:
        pass


def test_one_who_waits_in_vain_again_and_again_has_one_thread_for_it(lock: SharedLock, holder: Fork) -> None:
    for _ in range(5):
        assert not lock.acquire(MOMENT_SECONDS / 10)
    assert sum(thread.name == "prefork-lock" for thread in threading.enumerate()) == 1
    holder.kill()
    wait_for_threads()


def test_coroutines_get_it_in_the_order_in_which_they_came(lock: SharedLock) -> None:
    order: list[int] = []

    async def visit(number: int) -> None:
        async with lock:
            order.append(number)

    async def main() -> None:
        async with lock:
            tasks = [asyncio.create_task(visit(number)) for number in range(5)]
            await asyncio.sleep(0)
            tasks[2].cancel()
            await asyncio.sleep(0)
        await asyncio.gather(*tasks, return_exceptions=True)

    run(main)
    assert order == [0, 1, 3, 4]


def test_the_event_loop_turns_while_a_coroutine_waits(lock: SharedLock, holder: Fork) -> None:
    async def main() -> None:
        task = await waiting(lock)
        turns = 0
        while turns < 100:
            await asyncio.sleep(0)
            turns += 1
        assert not task.done()
        holder.kill()
        await task
        lock.release()

    run(main)


def test_a_loop_is_not_made_to_wait_and_a_look_is_allowed(lock: SharedLock) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="async with"):
            lock.acquire()
        with pytest.raises(RuntimeError, match="async with"), lock:
            pass
        assert lock.acquire(0)
        lock.release()

    run(main)


def test_letting_go_of_what_is_not_held_is_an_error(lock: SharedLock) -> None:
    with pytest.raises(RuntimeError, match="not held"):
        lock.release()


def test_when_its_buffer_is_closed_within_it_who_waits_is_told_and_others_find_it_abandoned(lock: SharedLock) -> None:
    elsewhere = sent(lock)
    assert isinstance(elsewhere, SharedLock)

    async def main() -> None:
        await lock.acquire_async()
        task = asyncio.create_task(lock.acquire_async())
        await asyncio.sleep(0)
        buffer_of(lock).close()
        assert elsewhere.acquire(timeout=0)
        assert elsewhere.abandoned
        with pytest.raises(ValueError, match="closed"):
            lock.release()
        with pytest.raises(ValueError, match="closed"):
            await task

    run(main)
    elsewhere.release()
    with elsewhere:
        assert not elsewhere.abandoned, "who let go of a closed one has written into what others have"


def test_who_waits_for_one_whose_buffer_is_closed_is_told_and_does_not_enter(lock: SharedLock, holder: Fork) -> None:
    async def main() -> None:
        task = await waiting(lock)
        buffer_of(lock).close()
        holder.kill()
        with pytest.raises(ValueError, match="closed"):
            await task

    run(main)


def test_a_child_that_is_forked_within_it_does_not_hold_it(lock: SharedLock, post: Signpost) -> None:
    def child() -> None:
        assert not lock.held
        assert not lock.acquire(0)
        with pytest.raises(RuntimeError, match="not held"):
            lock.release()

    with lock, Fork(child) as fork:
        assert fork.wait() == 0


def test_a_child_that_is_forked_within_it_does_not_keep_it_when_the_holder_dies(
    lock: SharedLock, post: Signpost
) -> None:
    def hold_and_fork() -> None:
        os.setpgid(0, 0)
        lock.acquire()
        if os.fork() == 0:
            post.reached()
        threading.Event().wait()

    with Fork(hold_and_fork) as holder:
        post.wait()
        holder.kill()
        try:
            with lock:
                assert lock.abandoned
        finally:
            os.killpg(holder.pid, 9)


def test_locks_of_one_buffer_are_apart_and_share_their_descriptors() -> None:
    before = memfds()
    with SharedBuffer(4) as buffer:
        alone = memfds()
        locks = [SharedLock(buffer, offset) for offset in range(4)]
        for lock in locks:
            assert lock.acquire(0)
        assert memfds() == alone + 1
        with pytest.raises(ValueError, match="takes 1 bytes; at offset 4"):
            SharedLock(buffer, 4)
    del locks, lock
    assert memfds() == before


def test_it_leaves_neither_descriptor_nor_thread(lock: SharedLock) -> None:
    before = memfds()
    other = SharedLock()
    with other:
        copied = sent(other)
        assert isinstance(copied, SharedLock)
        assert not copied.acquire(MOMENT_SECONDS)
    wait_for_threads()
    del other, copied
    assert memfds() == before
