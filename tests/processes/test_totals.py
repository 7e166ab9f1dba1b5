"""What a status says in sums over the ledger. No process here: this one counts in the places of several."""

import os
from collections.abc import Iterator

import pytest

from prefork.metrics import counting, ours
from prefork.metrics.kinds import SECONDS, Declaration, Kind
from prefork.processes.places import Places
from prefork.processes.totals import Totals


@pytest.fixture
def places() -> Iterator[Places]:
    places = Places(True)
    yield places
    counting.adopt(None)
    assert places.descriptor is not None
    os.close(places.descriptor)


def become(places: Places, serial: int, slot: int, generation: int = 1) -> int:
    """Count as a worker that was just forked. Returns its pid."""
    places.take(serial, "worker", slot, generation)
    pid = 1000 + serial
    places.forked(serial, pid)
    place = places.of(pid)
    assert place is not None
    counting.adopt(place, generation=generation)
    return pid


def answer(status: str, count: int = 1, route: str = "/") -> None:
    for _ in range(count):
        ours.request_seconds.labels("GET", status, route).observe(0.02)


def test_answers_are_summed_by_slot_over_all_that_served_it(places: Places) -> None:
    totals = Totals(places)
    first = become(places, 1, 0)
    answer("2xx", 3)
    totals.look()
    assert totals.answers()[0].requests == 3
    places.gone(first)
    become(places, 2, 0, generation=2)
    answer("2xx")
    answer("5xx", 2, "/other")
    become(places, 3, 1, generation=2)
    answer("5xx")
    totals.look()
    found = totals.answers()
    assert {slot: (sums.requests, sums.errors) for slot, sums in found.items()} == {0: (6, 2), 1: (1, 1)}
    assert found[0].seconds == pytest.approx(6 * 0.02)
    assert len(found[0].buckets) == len(SECONDS) + 1
    assert max(found[0].buckets) == 6


def test_gauges_are_those_of_processes_that_live_and_counters_are_everybodys(places: Places) -> None:
    totals = Totals(places)
    first = become(places, 1, 0)
    ours.jobs_waiting.labels("").set(5)
    ours.jobs_ended.labels("", "task", "done").inc(2)
    become(places, 2, 1)
    ours.jobs_waiting.labels("").set(1)
    ours.jobs_ended.labels("", "task", "done").inc(1)
    ours.jobs_ended.labels("actor", "task", "done").inc(7)
    places.gone(first)
    totals.look()
    assert totals.count(ours.jobs_waiting) == 1
    assert totals.counts(ours.jobs_ended, "") == {("", "task", "done"): 3}


def test_what_was_declared_in_another_shape_is_not_added(places: Places) -> None:
    totals = Totals(places)
    become(places, 1, 0)
    answer("2xx")
    name = ours.request_seconds.declaration.name
    other = Declaration(Kind.HISTOGRAM, name, "As other code had it.", ("method", "status"), SECONDS)
    numbers, at = counting.current().series(other, ("GET", "5xx"))
    numbers[at] = 9.0
    totals.look()
    assert totals.answers()[0].requests == 1
