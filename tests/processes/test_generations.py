"""When the master has the app imported anew. No process here: molds that are only told of."""

import logging
from dataclasses import dataclass
from typing import Any

import pytest

from prefork.core.roster import Canary, Roster
from prefork.processes.generations import Generations


@dataclass
class Mold:
    generation: int
    ready: bool = True
    killed: bool = False
    released: bool = False
    explained: bool = False
    ordered_at: float = 0.0

    @property
    def booting(self) -> bool:
        return not self.ready and not self.killed


class Molds(list[Mold]):
    def __init__(self, *molds: Mold) -> None:
        super().__init__(molds)
        self.generation = max(mold.generation for mold in molds)

    @property
    def booting(self) -> bool:
        return any(mold.booting for mold in self)

    def fork(self, now: float, broken: str) -> None:
        self.generation += 1
        self.append(Mold(self.generation, ready=False))


def serving(*molds: Mold, generation: int = 1) -> tuple[Generations, Any]:
    """A server of that generation, with these molds."""
    books: Any = Molds(*molds)
    generations = Generations(Roster(1, generation), books)
    generations.proven = generation
    return generations, books


@pytest.mark.parametrize(
    "others",
    [
        [],
        [Mold(2)],  # of a canary that is over, and whose workers drain
        [Mold(2, ready=False, killed=True)],
        [Mold(2, released=True)],
    ],
)
def test_without_a_mold_for_what_serves_the_app_is_imported_anew_at_once(
    others: list[Mold], caplog: pytest.LogCaptureFixture
) -> None:
    dead: Any = Mold(1)
    generations, molds = serving(dead, *others)
    molds.remove(dead)
    with caplog.at_level(logging.ERROR):
        generations.mold_died(dead, 9, 100.0)
    generations.tend(100.0)
    assert molds[-1] == Mold(max([1, *(mold.generation for mold in others)]) + 1, ready=False)
    assert "importing the app anew" in caplog.text
    generations.tend(100.0)
    assert len(molds) == len(others) + 1


@pytest.mark.parametrize("others", [[Mold(2, ready=False)], [Mold(1)]])
def test_while_a_mold_imports_newer_code_or_forks_what_serves_there_is_no_other(
    others: list[Mold], caplog: pytest.LogCaptureFixture
) -> None:
    dead: Any = Mold(1)
    generations, molds = serving(dead, *others)
    molds.remove(dead)
    with caplog.at_level(logging.ERROR):
        generations.mold_died(dead, 9, 100.0)
    generations.tend(100.0)
    assert molds == others
    assert "importing the app anew" not in caplog.text


def test_a_canary_needs_no_other_mold() -> None:
    books: Any = Molds(Mold(1), Mold(2))
    roster = Roster(1, canary=Canary(2, 0.5))
    Generations(roster, books).tend(100.0)
    assert len(books) == 2
