"""Whose child one is: that of the request that is being handled, or of the program."""

import asyncio
import sys
from collections.abc import Callable
from typing import Any, Final

from prefork.jobs import context

REQUEST: Final = "prefork-request"  # the name of the task that handles one, in a worker


def track_if_used() -> None:
    """Have requests tracked from the first one on, if a module of the app has this package: what is taken from it tells
    so too, but perhaps only within a request, in a task that it has started."""
    package = sys.modules["prefork.children"]
    if not context.tracking and any(
        value is package
        for name, module in list(sys.modules.items())
        if name != "prefork"
        for value in _held_by(module)
    ):
        context.track_requests()


def _held_by(module: object) -> list[object]:
    """What a module has, without waking one that loads itself when first looked at (importlib.util.LazyLoader)."""
    try:
        return list(object.__getattribute__(module, "__dict__").values())
    except AttributeError:  # anything may stand among the modules
        return []


def request_task() -> "asyncio.Task[Any] | None":
    """The task that handles the current request, also for tasks that it has started; None when there is none, or it
    has ended."""
    task = context.handling.get()
    if task is None:  # of the first request, in an app that imports this package within a function
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
