"""Who has which place of the ledger, however many processes come and go."""

import os
from collections.abc import Iterator

import pytest

from prefork.metrics import counting
from prefork.processes.places import NOWHERE, Places
from prefork.system.ledger import PLACES

COME_AND_GO = 10_000  # more than there are places


@pytest.fixture
def places() -> Iterator[Places]:
    places = Places(wanted=True)
    yield places
    counting.adopt(None)
    assert places.descriptor is not None
    os.close(places.descriptor)


def test_processes_that_come_and_go_use_no_more_places_than_live_at_a_time(places: Places) -> None:
    for serial in range(COME_AND_GO):
        places.take(serial, "offloader", serial % 2, 1)
        if serial % 3 == 0:
            places.not_forked(serial)
        elif serial % 3 == 1:
            places.mold_gone(1)
        else:
            places.forked(serial, 1000 + serial)
            places.gone(1000 + serial)
    assert len(list(places)) == 3  # with the master's


def test_a_place_is_not_given_away_while_its_process_lives_or_is_still_to_come(places: Places) -> None:
    first = places.take(1, "worker", 0, 1)
    second = places.take(2, "worker", 0, 1)
    places.forked(1, 1001)
    third = places.take(3, "worker", 0, 2)
    assert len({first, second, third}) == 3
    places.gone(1001)
    assert places.take(4, "worker", 0, 2) == first
    assert places.take(5, "worker", 1, 2) not in (first, second, third)  # another slot's numbers are not its own


def test_with_all_places_taken_a_process_counts_for_itself_until_one_is_free(places: Places) -> None:
    for serial in range(1, PLACES):
        assert places.take(serial, "offloader", serial, 1) != NOWHERE
        places.forked(serial, 1000 + serial)
    assert places.take(PLACES, "offloader", 5, 1) == NOWHERE
    places.forked(PLACES, 9999)
    places.gone(9999)
    places.gone(1005)
    assert places.take(PLACES + 1, "offloader", 5, 1) != NOWHERE
