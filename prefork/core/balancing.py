"""Decide which worker gets the next connection. Callers pass the workers that may take one, with their load."""

from collections.abc import Sequence
from typing import Protocol, TypeVar


class Taker(Protocol):
    """A worker that may take a connection now."""

    @property
    def slot(self) -> int: ...

    @property
    def load(self) -> int:
        """Connections it holds or has been given."""


T = TypeVar("T", bound=Taker)


class Balance(Protocol):
    """A way to spread connections over workers."""

    workers_accept: bool  # the kernel spreads them; we choose only for connections that come back

    def choose(self, takers: Sequence[T]) -> T | None:
        """The worker to give one connection to; None when nobody may take it. `takers` in order of slots."""


class RoundRobin:
    """Strictly in turn."""

    workers_accept = False

    def __init__(self) -> None:
        self._last = -1

    def choose(self, takers: Sequence[T]) -> T | None:
        if not takers:
            return None
        chosen = next((taker for taker in takers if taker.slot > self._last), takers[0])
        self._last = chosen.slot
        return chosen


class LeastConnections:
    """To the one with the fewest connections; ties in turn."""

    workers_accept = False

    def __init__(self) -> None:
        self._turn = RoundRobin()

    def choose(self, takers: Sequence[T]) -> T | None:
        fewest = min((taker.load for taker in takers), default=0)
        return self._turn.choose([taker for taker in takers if taker.load == fewest])


class Kernel(RoundRobin):
    """Each worker accepts from a socket of its own (SO_REUSEPORT, socket(7)); what comes back goes in turn."""

    workers_accept = True


BALANCES: dict[str, type[RoundRobin] | type[LeastConnections]] = {
    "round-robin": RoundRobin,
    "least-connections": LeastConnections,
    "kernel": Kernel,
}
