"""What a protocol that takes over from an HTTP connection must do, so that its worker can look after it."""

import asyncio
from typing import Protocol


class Successor(Protocol):
    """A protocol that takes over from a Connection. The service looks after it as it does after connections; it tells
    the service with `successor_closed` when the transport is gone."""

    index: int  # of the record of the request that led to it; set by the service
    deadline: float  # on the loop's clock

    @property
    def in_progress(self) -> str | None:
        """What is cut at the drain limit, in words for the log."""

    def took_over(self, transport: asyncio.Transport, task: asyncio.Task[None] | None, data: bytes) -> None:
        """The transport is yours, with what has arrived; `task` runs the app, which nobody else cancels from now on."""

    def expired(self) -> None:
        """The deadline has passed."""

    def leave(self) -> None:
        """The worker drains."""

    def cut(self) -> None:
        """End now."""
