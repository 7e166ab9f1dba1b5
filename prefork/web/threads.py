"""Which threads run an app's blocking code: the loop's, or those of a server that shares its loop with others."""

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import ParamSpec, TypeVar

from prefork.children.thread_pool import own

P = ParamSpec("P")
R = TypeVar("R")


async def in_thread(function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """As `asyncio.to_thread`, in the threads of the server that runs us if it has some of its own."""
    threads = own.get()
    if threads is None:
        return await asyncio.to_thread(function, *args, **kwargs)
    call = partial(copy_context().run, function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(threads.executor, call)
