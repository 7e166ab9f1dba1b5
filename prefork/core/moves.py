"""Follow a table of moves: state × event → next state."""

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

S = TypeVar("S", bound=Enum)
E = TypeVar("E", bound=Enum)


def follow(moves: Mapping[tuple[S, E], S], state: S, event: E, who: str) -> S:
    """The state of `who` after an event. Raises ValueError for a pair that cannot happen."""
    try:
        return moves[state, event]
    except KeyError:
        raise ValueError(f"{who} that is {state.value} cannot be told: {event.value}") from None
