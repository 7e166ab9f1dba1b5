"""The event loop without a clock, for jobs: it also hears descriptors, and runs what is for a thread when told to."""

import asyncio
import select
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from tests.http.loop import FakeLoop

T = TypeVar("T")

ROUNDS = 10_000  # of hearing; more means that somebody does not read what there is


class JobLoop(FakeLoop):
    """`run` goes on until nothing is ready and nothing can be read: what a test sent has then been heard."""

    def __init__(self) -> None:
        super().__init__()
        self.for_threads: deque[tuple[asyncio.Future[Any], Callable[[], Any]]] = deque()
        self._readers: dict[int, Callable[[], object]] = {}

    def run(self) -> None:
        super().run()
        for _ in range(ROUNDS):
            heard = [callback for fd, callback in self._readers.items() if readable(fd)]
            if not heard:
                return
            for callback in heard:
                self.call_soon(callback)
            super().run()
        raise AssertionError(f"never read: {list(self._readers)}")

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function as the loop would, then run what it made ready."""

        async def call() -> T:
            return function(*args)

        return self.result(call())

    def start(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task, up to where it waits."""
        task = self.create_task(coroutine)
        self.run()
        return task

    def result(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What a coroutine gives that needs to wait for nothing more."""
        task = self.start(coroutine)
        assert task.done(), f"it waits: {task}"
        return task.result()

    def finish_thread(self) -> None:
        """Do the oldest work that is for a thread, and hear of it."""
        future, work = self.for_threads.popleft()
        try:
            future.set_result(work())
        except Exception as error:
            future.set_exception(error)
        self.run()

    # -- what backends ask of a loop

    def add_reader(self, fd: int, callback: Callable[..., object], *args: Any) -> None:
        self._readers[fd] = lambda: callback(*args)

    def remove_reader(self, fd: int) -> bool:
        return self._readers.pop(fd, None) is not None

    def run_in_executor(self, executor: object, work: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self.create_future()
        self.for_threads.append((future, lambda: work(*args)))
        return future


def readable(fd: int) -> bool:
    """Whether there is something to read at once."""
    waiting = select.poll()
    waiting.register(fd, select.POLLIN)
    return bool(waiting.poll(0))
