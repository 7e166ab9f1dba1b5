"""Whose child one is: that of the request that is being handled, or of the program."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from prefork.jobs import context

REQUEST: Final = "prefork-request"  # the name of the task that handles one, in a worker


def request_task() -> "asyncio.Task[Any] | None":
    """The task that handles the current request, also for tasks that it has started; None when there is none, or it
    has ended."""
    task = context.handling.get()
    if task is None:  # of the first request, before anybody has asked for it to be tracked
        current = asyncio.current_task()
        task = current if current is not None and current.get_name() == REQUEST else None
    return None if task is None or task.done() else task


def bind(end: Callable[[], None]) -> Callable[[], None]:
    """Call `end()` when the current request is over, if there is one. Returns what undoes that: the child is gone."""
    task = request_task()
    if task is None:
        return lambda: None

    def ended(_: "asyncio.Task[Any]") -> None:
        end()

    task.add_done_callback(ended)

    def unbind() -> None:
        task.remove_done_callback(ended)

    return unbind
