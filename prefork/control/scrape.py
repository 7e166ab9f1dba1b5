"""What /metrics answers: computed from the ledger at most once a second, however many ask."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

KEPT_SECONDS: Final = 1.0

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"

Expose = Callable[[bool], bytes]  # takes whether OpenMetrics is wanted


class Scrape:
    """A cache of both formats. It computes in a thread: with many processes that takes a while, and probes come
    first."""

    def __init__(self, expose: Expose, clock: Callable[[], float] = time.monotonic) -> None:
        self._expose = expose
        self._clock = clock
        self._kept: dict[bool, tuple[float, asyncio.Task[bytes]]] = {}

    async def text(self, openmetrics: bool) -> bytes:
        """The metrics of this second. Who asks while they are computed waits for the same."""
        kept = self._kept.get(openmetrics)
        if kept is None or (kept[1].done() and not self._is_fresh(*kept)):
            task = asyncio.create_task(asyncio.to_thread(self._expose, openmetrics))
            self._kept[openmetrics] = kept = self._clock(), task
        return await asyncio.shield(kept[1])  # a client that leaves does not end what others wait for

    def _is_fresh(self, begun: float, task: "asyncio.Task[bytes]") -> bool:
        failed = task.cancelled() or task.exception() is not None
        return not failed and self._clock() < begun + KEPT_SECONDS


def wants_openmetrics(accept: str) -> bool:
    """Whether a client likes OpenMetrics at least as much as plain text (RFC 9110, 12.5.1)."""
    likes = {"application/openmetrics-text": 0.0, "text/plain": 0.0}
    for one in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in one.split(";"))
        if kind in likes:
            likes[kind] = max(likes[kind], _quality(parameters))
    openmetrics, text = likes.values()
    return openmetrics > 0.0 and openmetrics >= text


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
