"""Decide which worker gets the next connection. Callers pass the workers that may take one, with their load."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Protocol, TypeVar


class Taker(Protocol):
    """A worker that may take a connection now."""

    @property
    def slot(self) -> int: ...

    @property
    def load(self) -> int:
        """Connections it holds or has been given."""


T = TypeVar("T", bound=Taker)


class Dated(Taker, Protocol):
    """A taker whose code has a generation."""

    @property
    def generation(self) -> int: ...


D = TypeVar("D", bound=Dated)


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


class Split:
    """Two generations side by side: one gets its share of new connections, the other the rest and what comes back.

    Shares are exact: of any number of new connections in a row the new generation's turn comes for its share of them,
    give or take less than one. What one side cannot take the other does, and nothing waits for its own.
    """

    def __init__(self, generation: int, share: float, balance: Callable[[], Balance]) -> None:
        """`share` of new connections for that generation, 0 to 1; `balance` makes what spreads them within a side."""
        self.generation = generation
        self.new = 0  # connections that came
        self.given = 0  # of these, to the generation
        self._share = Fraction(str(share))
        self._due = Fraction(1, 2)  # at 1 it is the generation's turn; from the middle, so that counts are rounded
        self._trial = balance()
        self._others = balance()

    def choose(self, takers: Sequence[D], new: bool) -> D | None:
        """The worker to give one connection to; None when nobody may take it. `takers` in order of slots; `new`: it was
        with no worker before."""
        if not takers:
            return None
        trial = [taker for taker in takers if taker.generation == self.generation]
        others = [taker for taker in takers if taker.generation != self.generation]
        if new and self._turn():
            chosen = self._trial.choose(trial) or self._others.choose(others)
        else:
            chosen = self._others.choose(others) or self._trial.choose(trial)
        if new:
            self.new += 1
            self.given += chosen is not None and chosen.generation == self.generation
        return chosen

    def _turn(self) -> bool:
        self._due += self._share
        if self._due < 1:
            return False
        self._due -= 1
        return True


BALANCES: dict[str, type[RoundRobin] | type[LeastConnections]] = {
    "round-robin": RoundRobin,
    "least-connections": LeastConnections,
    "kernel": Kernel,
}
