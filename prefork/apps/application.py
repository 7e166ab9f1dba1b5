"""What a worker runs, whatever kind of app it was made from."""

from typing import Protocol

from prefork.http.exchange import Exchange


class Application(Protocol):
    """An app behind one interface."""

    async def startup(self) -> None:
        """Run once in a worker before it serves. If it raises, the worker cannot boot."""

    async def shutdown(self) -> None:
        """Run once after the last request."""

    def offloader(self) -> None:
        """Called instead of `startup` in a process that will run jobs of this app."""

    async def __call__(self, exchange: Exchange) -> None:
        """Handle one exchange and leave it finished, failed or aborted. Raises nothing but CancelledError."""
