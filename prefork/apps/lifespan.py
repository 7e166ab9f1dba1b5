"""An ASGI app's lifespan: told of start-up before a worker serves, of shutdown after its last request.

Specification: ASGI, lifespan protocol, 2.0.
"""

import asyncio
import logging
from enum import Enum, auto
from typing import Any, Final, Literal

from prefork.errors import BootError, ResponseError
from prefork.web.asgi_types import AsgiApp, Message

CANCEL_SECONDS: Final = 1.0  # for an app that is cancelled within its lifespan
_VERSIONS: Final = {"version": "3.0", "spec_version": "2.0"}

_log = logging.getLogger("prefork.lifespan")


class Stage(Enum):
    """What the app has been told, and what it said."""

    OFF = auto()  # not spoken: by setting, or because the app does not want to
    STARTING = auto()
    SERVING = auto()
    STOPPING = auto()
    OVER = auto()


class AsgiLifespan:
    """`mode` as in the setting `lifespan`: with `auto`, an app that raises at once does not want one."""

    def __init__(self, app: AsgiApp, mode: Literal["auto", "on", "off"]) -> None:
        self._app = app
        self._mode = mode
        self._stage = Stage.OFF
        self._state: dict[str, Any] = {}
        self._failure: str | None = None  # the app's own words
        self._task: asyncio.Task[None] | None = None

    async def startup(self) -> dict[str, Any]:
        """Run the app's start-up. Returns the state it made.

        Raises BootError in the app's words when it says that it failed; what it raises, when it has to speak lifespan.
        """
        if self._mode == "off":
            return self._state
        self._stage = Stage.STARTING
        self._told = asyncio.Queue[Message]()
        self._told.put_nowait({"type": "lifespan.startup"})
        self._changed = asyncio.Event()
        scope = {"type": "lifespan", "asgi": _VERSIONS, "state": self._state}
        self._task = asyncio.get_running_loop().create_task(self._run(scope), name="lifespan")
        await self._hear(self._task)
        if self._stage is Stage.SERVING:
            return self._state
        if self._failure is not None:
            await _end(self._task)
            raise BootError(self._failure)
        error = None if self._task.cancelled() else self._task.exception()
        if self._mode == "on":
            raise error or BootError("the app returned from lifespan without a word; --lifespan auto or off lets it")
        _log.debug("the app speaks no lifespan: %r", error)
        self._stage = Stage.OFF
        return self._state

    async def shutdown(self) -> None:
        """Run the app's shutdown. Raises BootError's like: what it raises; its word that it failed is logged."""
        task = self._task
        if self._stage is not Stage.SERVING or task is None:
            return
        self._stage = Stage.STOPPING
        self._changed.clear()
        self._told.put_nowait({"type": "lifespan.shutdown"})
        await self._hear(task)
        if self._failure is not None:
            _log.error("the app's shutdown failed: %s", self._failure)
        await task

    async def _hear(self, task: "asyncio.Task[None]") -> None:
        """Wait for the app's word, or its end. Who gives up ends the app's task."""
        try:
            await self._changed.wait()
        except asyncio.CancelledError:
            await _end(task)
            raise

    async def _run(self, scope: dict[str, Any]) -> None:
        try:
            await self._app(scope, self._told.get, self._send)
        except Exception as error:
            if self._stage is Stage.SERVING:
                _log.error("the app's lifespan ended with an error while it serves", exc_info=error)
                self._stage = Stage.OVER
                return
            if self._failure is not None:
                return  # it has said so already; Starlette raises too
            raise
        finally:
            self._changed.set()
        if self._stage is Stage.SERVING:
            self._stage = Stage.OVER  # nobody listens any more; that is its right

    async def _send(self, message: Message) -> None:
        kind, stage = message["type"], self._stage
        if stage is Stage.STARTING and kind in ("lifespan.startup.complete", "lifespan.startup.failed"):
            self._stage = Stage.SERVING
        elif stage is Stage.STOPPING and kind in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
            self._stage = Stage.OVER
        else:
            raise ResponseError(f"{kind} was sent where the lifespan is {stage.name.lower()}")
        if kind.endswith("failed"):
            self._failure = str(message.get("message") or "no reason was given").strip()
            self._stage = Stage.OVER
        self._changed.set()


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.wait((task,), timeout=CANCEL_SECONDS)
