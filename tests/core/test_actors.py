"""Which processes of actors are started, given up and let go."""

import pytest

from prefork.core.actors import Fail, GiveUp, Group, LetGo, Place, Start, deadlines, plan
from prefork.core.backoff import FIRST_SECONDS, YOUNG_SECONDS

BOOT_SECONDS = 60.0


def group(count: int = 1, shared: bool = True, users: int = 1, generation: int = 1) -> Group:
    return Group(generation, shared, [Place() for _ in range(count)], users)


def started(found: Group, now: float = 0.0) -> Group:
    """All its processes are ready."""
    for number, place in enumerate(found.places):
        place.ordered(number, now)
        place.ready(now)
    return found


def complete(found: Group) -> bool:
    return found.complete


def test_each_place_is_started_once() -> None:
    found = group(2)
    assert plan(found, 0.0, 1, BOOT_SECONDS) == [Start(place) for place in found.places]
    for number, place in enumerate(found.places):
        place.ordered(number, 0.0)
    assert plan(found, 0.0, 1, BOOT_SECONDS) == []


def test_it_is_complete_once_each_has_been_ready_whatever_comes_later() -> None:
    found = group(2)
    first, second = found.places
    first.ordered(1, 0.0)
    first.ready(0.0)
    assert not complete(found)
    second.ordered(2, 0.0)
    second.ready(0.0)
    assert complete(found)
    first.died(1.0)
    assert complete(found)


@pytest.mark.parametrize(("lived", "delay"), [(YOUNG_SECONDS - 0.01, FIRST_SECONDS), (YOUNG_SECONDS, 0.0)])
def test_one_that_died_is_started_again_and_one_that_died_young_later(lived: float, delay: float) -> None:
    found = started(group())
    place = found.places[0]
    assert place.died(lived) == delay
    assert list(deadlines(found, BOOT_SECONDS)) == [lived + delay]
    if delay:
        assert plan(found, lived + delay - 0.001, 1, BOOT_SECONDS) == []
    assert plan(found, lived + delay, 1, BOOT_SECONDS) == [Start(place)]


def test_one_that_is_not_ready_in_time_is_given_up() -> None:
    found = group()
    place = found.places[0]
    place.ordered(1, 10.0)
    assert list(deadlines(found, BOOT_SECONDS)) == [10.0 + BOOT_SECONDS]
    assert plan(found, 9.9 + BOOT_SECONDS, 1, BOOT_SECONDS) == []
    assert plan(found, 10.0 + BOOT_SECONDS, 1, BOOT_SECONDS) == [GiveUp(place)]
    place.ready(11.0)
    assert plan(found, 10.0 + BOOT_SECONDS, 1, BOOT_SECONDS) == []
    assert list(deadlines(found, BOOT_SECONDS)) == []


@pytest.mark.parametrize(
    ("shared", "users", "wanted", "stays"),
    [
        (True, 1, 1, True),
        (True, 1, 2, True),  # workers of its generation still drain
        (True, 1, None, True),  # the server stops, and they still do
        (True, 0, 1, True),  # its next worker is about to boot
        (True, 0, 2, False),
        (True, 0, None, False),
        (False, 1, 2, True),
        (False, 0, 1, False),  # its only worker is gone
    ],
)
def test_it_is_let_go_when_nobody_needs_it(shared: bool, users: int, wanted: int | None, stays: bool) -> None:
    found = started(group(shared=shared, users=users))
    assert plan(found, 1.0, wanted, BOOT_SECONDS) == ([] if stays else [LetGo()])
    found.ending = True
    assert plan(found, 1.0, wanted, BOOT_SECONDS) == []
    assert list(deadlines(found, BOOT_SECONDS)) == []


def test_without_a_mold_none_is_started_again_and_the_last_death_is_told() -> None:
    found = started(group(2))
    found.orphaned = True
    first, second = found.places
    first.died(0.0)
    assert plan(found, 100.0, 2, BOOT_SECONDS) == []
    assert list(deadlines(found, BOOT_SECONDS)) == []
    second.died(0.0)
    assert plan(found, 100.0, 2, BOOT_SECONDS) == [Fail()]


def test_it_is_empty_when_its_last_process_is_gone() -> None:
    found = started(group(2))
    assert not found.empty
    for place in found.places:
        place.died(1.0)
    assert found.empty
