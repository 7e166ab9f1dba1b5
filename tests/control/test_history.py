"""Samples: what happened between two looks, and what is kept of the last hour."""

import os
from collections.abc import Iterator

import msgspec
import pytest

from prefork.control.history import (
    LARGEST_BYTES,
    SAMPLE_BYTES,
    SAMPLES,
    SLOT_BYTES,
    History,
    JobsSample,
    Sample,
    SlotSample,
    bytes_needed,
    quantile,
    sample,
)
from prefork.control.status import ConnectionsStatus, JobsStatus
from prefork.system import ring
from prefork.system.ring import Ring
from tests.control.statuses import BOUNDS, slot, status, worker


def taken(at: float, slots: int = 1) -> Sample:
    made = sample(status(at - 1.0), status(at, slots=[slot(number) for number in range(slots)]))
    assert made is not None
    return made


@pytest.fixture
def memory() -> Iterator[int]:
    descriptor = ring.create(bytes_needed(1))
    yield descriptor
    os.close(descriptor)


def test_rates_are_a_second_also_when_a_look_came_late() -> None:
    before = status(1000.0, slots=[slot(0, 100, 10), slot(1, 5)])
    made = sample(before, status(1002.5, slots=[slot(0, 150, 15), slot(1, 55)]))
    assert made is not None
    assert (made.at, made.requests, made.errors) == (1002.5, 40.0, 2.0)
    assert {number: one.requests for number, one in made.slots.items()} == {0: 20.0, 1: 20.0}


def test_percentiles_are_those_of_this_second_alone() -> None:
    before = status(1000.0, slots=[slot(0, buckets=(1000, 0, 0, 7)), slot(1, buckets=(0, 5, 0, 0))])
    made = sample(before, status(1001.0, slots=[slot(0, buckets=(1090, 0, 0, 7)), slot(1, buckets=(0, 15, 0, 0))]))
    assert made is not None
    assert made.p50 == pytest.approx(0.01 * 50 / 90, abs=1e-6)
    assert made.p90 == pytest.approx(0.01)
    assert made.p99 == pytest.approx(0.01 + 0.09 * 0.9)


def test_a_second_without_requests_has_no_percentiles() -> None:
    made = sample(status(1000.0), status(1001.0))
    assert made is not None
    assert (made.requests, made.p50, made.p90, made.p99) == (0.0, None, None, None)


def test_what_took_longer_than_the_last_bound_is_told_as_that_bound() -> None:
    assert quantile(BOUNDS, [0, 0, 0, 3], 0.5) == 1.0
    assert quantile(BOUNDS, [], 0.5) is None


def test_a_slot_that_is_new_counts_from_nothing_and_one_that_is_gone_is_gone() -> None:
    made = sample(status(1000.0, slots=[slot(0, 50)]), status(1001.0, slots=[slot(1, 4, buckets=(4, 0, 0, 0))]))
    assert made is not None
    assert made.slots == {1: SlotSample(requests=4.0)}
    assert made.requests == 0.0  # never less


def test_two_workers_of_a_slot_are_one() -> None:
    workers = [
        worker(0, connections=3, in_flight=1, rss=100, lag=0.2, busy=0.5),
        worker(0, connections=4, in_flight=2, rss=50, lag=0.1, busy=0.9, state="draining"),
    ]
    made = sample(status(1000.0), status(1001.0, workers=workers, slots=[slot(0)]))
    assert made is not None
    assert made.slots[0] == SlotSample(requests=0.0, connections=7, in_flight=3, rss=150, lag=0.2, busy=0.9)
    assert made.workers == 1


def test_the_lag_of_a_stalled_worker_is_its_silence() -> None:
    made = sample(status(1000.0), status(1001.0, workers=[worker(0, state="stalled", lag=0.01, beat_age=2.5)]))
    assert made is not None
    assert made.slots[0].lag == 2.5


def test_a_lag_between_two_looks_is_not_missed() -> None:
    made = sample(status(1000.0), status(1001.0, workers=[worker(0, lag=0.01, lag_peak=0.4)]))
    assert made is not None
    assert made.slots[0].lag == 0.4


def test_jobs_connections_and_memory_are_in_it() -> None:
    before = JobsStatus(ended={"done": 5, "failed": 1}, wait_buckets=[0, 0, 0, 0], run_buckets=[9, 0, 0, 0])
    after = JobsStatus(
        waiting=3,
        running=2,
        ended={"done": 7, "failed": 2, "timed out": 1, "cancelled": 4},
        wait_buckets=[2, 0, 0, 0],
        run_buckets=[9, 2, 0, 0],
    )
    made = sample(status(1000.0, jobs=before), status(1002.0, jobs=after, connections=ConnectionsStatus(open=8)), 4096)
    assert made is not None
    assert made.jobs == JobsSample(
        waiting=3, running=2, done=1.0, failed=1.0, wait_p99=0.0099, run_p50=0.055, run_p99=0.0991
    )
    assert (made.connections, made.pss) == (8, 4096)


def test_a_clock_that_was_set_back_gives_no_sample() -> None:
    assert sample(status(1000.0), status(1000.0)) is None
    assert sample(status(1000.0), status(900.0)) is None


def test_a_clock_that_was_set_back_stops_nothing_for_this_admin_and_the_next(memory: int) -> None:
    first = History(Ring(memory))
    for at in (1000.0, 5000.0, 5001.0, 1001.0, 1002.0):
        first.add(taken(at))
    for history in (first, History(Ring(memory))):
        assert [msgspec.json.decode(record)["at"] for record in history.newer(0.0)] == [1000.0, 1001.0, 1002.0]
        assert len(history.newer(1001.0)) == 1


def test_only_what_is_newer_is_told_the_oldest_first() -> None:
    history = History()
    for at in (1000.0, 1001.0, 1002.0):
        history.add(taken(at))
    assert [msgspec.json.decode(record)["at"] for record in history.newer(1000.0)] == [1001.0, 1002.0]
    assert len(history.newer(0.0)) == 3
    assert history.newer(1002.0) == []


def test_an_hour_is_kept_and_no_more() -> None:
    history = History()
    for number in range(SAMPLES + 10):
        history.add(taken(1000.0 + number))
    assert len(history) == SAMPLES
    assert msgspec.json.decode(history.newer(0.0)[0])["at"] == 1010.0


def test_of_many_workers_less_than_an_hour_is_kept() -> None:
    record = len(msgspec.json.encode(taken(1000.0, slots=100)))
    history = History(most=10 * record + record // 2)
    for number in range(50):
        history.add(taken(1000.0 + number, slots=100))
    assert [msgspec.json.decode(one)["at"] for one in history.newer(0.0)] == [1040.0 + number for number in range(10)]


def test_the_next_admin_goes_on_with_the_samples_of_the_one_before(memory: int) -> None:
    first = History(Ring(memory))
    first.add(taken(1000.0))
    first.add(taken(1001.0))
    second = History(Ring(memory))
    second.add(taken(1005.0))
    assert second.newer(0.0)[:2] == first.newer(0.0)
    assert len(History(Ring(memory))) == 3


@pytest.mark.parametrize("slots", [1, 2, 16])
def test_an_hour_fits_the_memory_that_is_meant_for_it(slots: int) -> None:
    large = SlotSample(requests=12345.67, in_flight=10000, connections=10000, lag=12.345678, busy=0.1234, rss=1 << 38)
    jobs = JobsSample(
        waiting=10**6, running=1000, done=12345.67, failed=12345.67, wait_p99=12.345678, run_p50=12.345678, run_p99=30.0
    )
    full = Sample(
        at=1795797990.407,
        requests=123456.78,
        errors=123456.78,
        p50=12.345678,
        p90=12.345678,
        p99=12.345678,
        slots={1000 + number: large for number in range(slots)},
        jobs=jobs,
        connections=10**7,
        workers=1000,
        pss=1 << 45,
    )
    assert len(msgspec.json.encode(full)) + 4 <= SAMPLE_BYTES + SLOT_BYTES * slots
    assert bytes_needed(1024) == LARGEST_BYTES
