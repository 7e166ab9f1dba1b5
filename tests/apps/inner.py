"""What wrappers of applications are tested around."""

from collections.abc import Awaitable, Callable
from typing import Any

Run = Callable[[Any], Awaitable[None]]


class Inner:
    """An application that is one function, and keeps what else it was asked for."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.calls: list[str] = []

    async def startup(self) -> None:
        self.calls.append("startup")

    async def shutdown(self) -> None:
        self.calls.append("shutdown")

    def offloader(self) -> None:
        self.calls.append("offloader")

    async def __call__(self, exchange: Any) -> None:
        await self.run(exchange)
