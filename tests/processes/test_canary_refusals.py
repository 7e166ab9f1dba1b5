"""When there can be no canary, one line says why, and nothing has changed. No process here: the master's books only."""

import selectors
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from prefork.control.quantities import percent
from prefork.core.balancing import RoundRobin
from prefork.core.roster import Roster, WorkerHandle
from prefork.errors import CommandError
from prefork.processes.canary import CanaryReload
from prefork.processes.generations import Generations
from prefork.processes.handout import HandOut
from prefork.processes.places import Places
from prefork.settings import Settings
from tests.core.roster import add, full


@dataclass
class FakeMolds:
    """Molds that are counted, and never forked."""

    generation: int = 1
    booting: bool = False
    full: bool = False  # the system lets us fork no more
    abandoned: list[int] = field(default_factory=list)

    def fork(self, now: float, broken: str) -> None:
        if self.full:
            raise OSError(11, "Resource temporarily unavailable")
        self.generation += 1
        self.booting = True

    def abandon_booting(self, generation: int) -> None:
        self.abandoned.append(generation)
        self.booting = False


class Books:
    """What the master knows of a server with two workers of one generation."""

    def __init__(self, **settings: Any) -> None:
        self.roster: Roster = full(2)
        self.molds = FakeMolds()
        self.generations = Generations(self.roster, cast(Any, self.molds))
        self.generations.proven = 1
        self.retired: list[WorkerHandle] = []
        selector = selectors.DefaultSelector()
        self.canaries = CanaryReload(
            Settings(**settings),
            self.roster,
            self.generations,
            cast(Any, self.molds),
            HandOut([], RoundRobin(), {}, 10, 10, selector),
            {},
            Places(False),
            lambda handle, now: self.retired.append(handle),
        )
        selector.close()


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 1.5, float("nan"), float("inf")])
def test_a_share_is_between_nothing_and_all(share: float) -> None:
    books = Books()
    with pytest.raises(CommandError, match="is no share for a canary: it is more than 0% and less than 100%"):
        books.canaries.begin(share, 0.0)
    assert (books.roster.canary, books.molds.generation) == (None, 1)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"metrics": False}, "it does not go with --no-metrics"),
        ({"balance": "kernel"}, "a canary does not go with --balance kernel"),
        ({"preload": False}, "without --preload"),
        ({"reload": True}, "with --reload"),
    ],
)
def test_settings_that_a_canary_does_not_go_with_are_told(settings: dict[str, Any], reason: str) -> None:
    books = Books(**settings)
    with pytest.raises(CommandError, match=reason):
        books.canaries.begin(0.1, 0.0)
    assert (books.roster.canary, books.molds.generation) == (None, 1)


def test_one_canary_at_a_time() -> None:
    books = Books()
    books.canaries.begin(0.1, 0.0)
    with pytest.raises(CommandError, match="generation 2 is a canary already; wait for its verdict, or reload"):
        books.canaries.begin(0.1, 0.0)
    assert books.molds.generation == 2


def test_none_while_the_server_boots() -> None:
    books = Books()
    books.generations.proven = 0
    with pytest.raises(CommandError, match="the server still boots"):
        books.canaries.begin(0.1, 0.0)


def test_none_while_a_reload_goes_on_or_waits() -> None:
    importing, replacing = Books(), Books()
    importing.molds.booting = True
    add(replacing.roster, 0, generation=2)
    for books in (importing, replacing):
        with pytest.raises(CommandError, match="another reload is going on"):
            books.canaries.begin(0.1, 0.0)


def test_none_when_the_system_forks_no_more() -> None:
    books = Books()
    books.molds.full = True
    with pytest.raises(CommandError, match="the system does not let us fork a mold"):
        books.canaries.begin(0.1, 0.0)
    assert books.roster.canary is None


def test_a_canary_that_still_imports_or_boots_is_called_off_at_once() -> None:
    books = Books()
    books.canaries.begin(0.1, 0.0)
    booting = add(books.roster, 0, generation=2)
    books.canaries.call_off("on purpose", 0.0)
    assert (books.roster.canary, books.molds.abandoned, books.retired) == (None, [2], [booting])
    assert books.roster.generation == books.generations.proven == 1
    books.canaries.call_off("again", 0.0)  # there is none any more
    assert books.retired == [booting]


def test_a_status_tells_of_a_canary_while_there_is_one() -> None:
    books = Books()
    assert books.canaries.status(0.0) is None
    books.canaries.begin(0.25, 0.0)
    status = books.canaries.status(0.0)
    assert status is not None
    assert (status.generation, status.share, status.state) == (2, 0.25, "booting")


def test_shares_are_told_as_people_write_them() -> None:
    assert [percent(share) for share in (0.1, 0.29, 0.001, 1.0)] == ["10%", "29%", "0.1%", "100%"]
