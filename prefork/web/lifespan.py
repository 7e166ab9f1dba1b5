"""Run what an app does around serving: its lifespan context and its start-up and shutdown hooks."""

import asyncio
import inspect
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

from prefork.jobs.references import name_of
from prefork.web.failures import logger

Hook = Callable[[], Any]


class Lifespan:
    """One app's start-up and shutdown, each run once.

    It has a task of its own, because a context entered in one task may not be left in another: task groups and
    timeouts would break.
    """

    def __init__(
        self, context: AbstractAsyncContextManager[Any] | None, on_startup: list[Hook], on_shutdown: list[Hook]
    ) -> None:
        self._context = context
        self._on_startup = on_startup
        self._on_shutdown = on_shutdown
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def startup(self) -> None:
        """Enter the context, then run the start-up hooks in order. Raises what they raise."""
        started = asyncio.get_running_loop().create_future()
        task = self._task = asyncio.create_task(self._run(started))
        try:
            await asyncio.wait((task, started), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if not started.done():
            self._task = None
            await task

    async def shutdown(self) -> None:
        """Run the shutdown hooks in order, then leave the context. Errors are logged: the rest still runs."""
        task, self._task = self._task, None
        if task is not None:
            self._stop.set()
            await task

    async def _run(self, started: "asyncio.Future[None]") -> None:
        try:
            async with AsyncExitStack() as stack:
                if self._context is not None:
                    await stack.enter_async_context(self._context)
                for hook in self._on_startup:
                    await _call(hook)
                started.set_result(None)
                await self._stop.wait()
                for hook in self._on_shutdown:
                    try:
                        await _call(hook)
                    except Exception:
                        logger.exception("shutdown hook %s failed", name_of(hook))
        except Exception:
            if not started.done():
                raise
            logger.exception("the app's lifespan failed")


async def _call(hook: Hook) -> None:
    result = hook()
    if inspect.isawaitable(result):
        await result
