"""What a worker counts of its requests and jobs."""

import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from prefork.core.job import State
from prefork.http.exchange import Exchange
from prefork.http.recorder import Recorder
from prefork.jobs import measured
from prefork.metrics import counting, ours
from prefork.metrics.counting import LABEL_SETS, OTHER
from prefork.metrics.families import Numbers, gather
from prefork.metrics.kinds import SECONDS
from prefork.system import ledger, scoreboard
from prefork.system.ledger import Ledger, Tenant

CONNECTIONS = 4


@pytest.fixture
def book() -> Iterator[Ledger]:
    descriptor = ledger.create()
    book = Ledger(descriptor)
    book.place(0).let(Tenant(1, "worker", 0, 1))
    counting.adopt(book.place(0))
    yield book
    counting.adopt(None)
    os.close(descriptor)


@pytest.fixture
def recorder(book: Ledger) -> Iterator[Recorder]:
    descriptor = scoreboard.create(CONNECTIONS)
    yield Recorder(descriptor, CONNECTIONS)
    os.close(descriptor)


def request(route: str = "/", status: int = 200, sent: int = 10, received: int | None = None) -> Exchange:
    """One that was answered; without a status it has not sent anything."""
    made = {"method": "GET", "route": route, "status": status, "started_at": 0.0}
    made |= {"has_body": received is not None, "body": SimpleNamespace(received=received)}
    return cast(Exchange, SimpleNamespace(**made, **({"bytes_sent": sent} if status else {})))


def counted(book: Ledger, metric: Any) -> dict[tuple[str, ...], Numbers]:
    return gather(book.places())[metric.declaration.name].series


def requests(book: Ledger) -> dict[tuple[str, ...], float]:
    return {labels: sum(numbers[:-1]) for labels, numbers in counted(book, ours.request_seconds).items()}


def test_statuses_of_a_class_are_counted_together(book: Ledger, recorder: Recorder) -> None:
    record = recorder.opened()
    for status in (200, 201, 204, 404, 500, 0):
        recorder.answered(record, request(status=status))
    assert requests(book) == {
        ("GET", "2xx", "/"): 3.0,
        ("GET", "4xx", "/"): 1.0,
        ("GET", "5xx", "/"): 1.0,
        ("GET", "none", "/"): 1.0,
    }
    assert counted(book, ours.response_bytes)["GET", "2xx", "/"] == [30.0]


def test_a_row_for_bodies_is_taken_with_the_first_one(book: Ledger, recorder: Recorder) -> None:
    record = recorder.opened()
    recorder.answered(record, request())
    assert ours.request_bytes.declaration.name not in gather(book.places())
    recorder.answered(record, request(status=201, received=7))
    recorder.answered(record, request(received=5))
    assert counted(book, ours.request_bytes) == {("GET", "2xx", "/"): [12.0]}


def test_routes_past_the_bound_are_counted_together(book: Ledger, recorder: Recorder) -> None:
    record = recorder.opened()
    for number in range(LABEL_SETS + 10):
        recorder.answered(record, request(f"/{number}", received=1))
    seen = requests(book)
    assert sum(seen.values()) == LABEL_SETS + 10
    assert seen[OTHER, OTHER, OTHER] == 11.0  # which has a place from the start
    assert sum(numbers[0] for numbers in counted(book, ours.request_bytes).values()) == LABEL_SETS + 10


def test_a_beat_tells_how_things_are(book: Ledger, recorder: Recorder) -> None:
    records = [recorder.opened() for _ in range(3)]
    recorder.closed(records[0])
    recorder.waited(0.02)
    recorder.refused(400)
    recorder.beat(1.0, lag=0.03)
    assert counted(book, ours.open_connections) == {(): [2.0]}
    assert counted(book, ours.refused_requests) == {("400",): [1.0]}
    for metric in (ours.queue_wait, ours.loop_lag):
        assert sum(counted(book, metric)[()][:-1]) == 1.0


def test_jobs_are_counted_by_how_they_end(book: Ledger) -> None:
    measured.over("", "shop.pack", State.DONE, 0.0005, 0.2)
    measured.over("", "shop.pack", State.DONE, 0.002, 0.3)
    measured.over("", "shop.pack", State.TIMED_OUT, 4.0, 0.0)  # in the queue
    measured.over("Model", "Model.ask", State.CRASHED, 0.0, 100.0)
    measured.refused("", "shop.pack")
    assert counted(book, ours.jobs_ended) == {
        ("", "shop.pack", "done"): [2.0],
        ("", "shop.pack", "timed out"): [1.0],
        ("", "shop.pack", "refused"): [1.0],
        ("Model", "Model.ask", "crashed"): [1.0],
    }
    waits, runs = counted(book, ours.job_wait)["", "shop.pack"], counted(book, ours.job_run)["", "shop.pack"]
    quick, slow = waits[SECONDS.index(0.0005)], waits[SECONDS.index(0.0025)]
    assert (quick, slow, sum(waits[:-1])) == (1.0, 1.0, 3.0)
    assert (sum(runs[:-1]), runs[-1]) == (2.0, 0.5)
    beyond = counted(book, ours.job_run)["Model", "Model.ask"]
    assert beyond[len(SECONDS)] == 1.0


def test_jobs_go_on_where_the_process_counts_now(book: Ledger) -> None:
    measured.over("", "shop.pack", State.DONE, 0.0, 0.1)
    book.place(1).let(Tenant(2, "worker", 1, 1))
    counting.adopt(book.place(1))
    measured.over("", "shop.pack", State.DONE, 0.0, 0.1)
    assert gather([book.place(1)])["prefork_jobs_total"].series == {("", "shop.pack", "done"): [1.0]}
