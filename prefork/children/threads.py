"""Run blocking code in a thread: `await thread(function, ...)`."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from prefork.children.home import home
from prefork.children.thread_pool import own

P = ParamSpec("P")
R = TypeVar("R")


async def thread(function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """The result of `function(*args, **kwargs)`, run in one of the worker's threads (`--threads`), with the context
    variables of the caller. Raises what it raises.

    For code that waits: files, a blocking driver, DNS. Code that computes gains nothing, for threads share the
    interpreter's lock: use `offload`. More calls than threads wait in order; one that has waited for
    `--children-wait-seconds` raises ChildrenBusy (503). When the caller is cancelled, a call that waits is dropped; one
    that runs goes on, for a thread cannot be ended, and keeps its thread until it returns.
    """
    threads = own.get()
    if threads is None:
        threads = home().threads
    return await threads.run(function, args, kwargs)
