"""How busy the threads of this process are: each pool of threads adds itself, and a worker tells with its heartbeat."""

from typing import Final, Protocol
from weakref import WeakSet


class Pool(Protocol):
    """Threads that run blocking code."""

    @property
    def busy(self) -> float:
        """The share of its threads that are at work, 0 to 1. Threads that were never needed count too."""


pools: Final[WeakSet[Pool]] = WeakSet()


def busy_share() -> float:
    """Of the busiest pool."""
    return max((pool.busy for pool in pools), default=0.0)
