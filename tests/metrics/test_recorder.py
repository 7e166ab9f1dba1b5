"""What a worker counts of its requests and jobs."""

import os
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, cast

import pytest

from prefork.core.job import State
from prefork.http.exchange import Exchange
from prefork.http.recorder import Recorder
from prefork.jobs.measured import Tally
from prefork.metrics import counting, ours
from prefork.metrics.counting import LABEL_SETS, OTHER
from prefork.metrics.families import Numbers, gather
from prefork.metrics.kinds import SECONDS, Kind
from prefork.system import ledger, scoreboard
from prefork.system.ledger import Ledger, LedgerFull, Tenant
from tests.jobs.backend import Desk

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
def make_recorder(book: Ledger) -> Iterator[Callable[[], Recorder]]:
    descriptor = scoreboard.create(CONNECTIONS)
    yield lambda: Recorder(descriptor, CONNECTIONS)
    os.close(descriptor)


@pytest.fixture
def recorder(make_recorder: Callable[[], Recorder]) -> Recorder:
    return make_recorder()


def request(
    route: str = "/", status: int = 200, sent: int = 10, received: int | None = None, method: str = "GET"
) -> Exchange:
    """One that was answered; without a status it has not sent anything."""
    made = {"method": method, "route": route, "status": status, "started_at": 0.0}
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


def test_a_worker_whose_app_took_all_room_serves_uncounted_and_says_so(
    book: Ledger, make_recorder: Callable[[], Recorder], caplog: pytest.LogCaptureFixture
) -> None:
    with suppress(LedgerFull):
        while True:
            book.place(0).row(Kind.DECLARATION, b"x" * 1000, 0)
    recorder = make_recorder()
    recorder.answered(recorder.opened(), request(received=7))
    assert "metric prefork_request_seconds has no room left in the ledger; what is new of it is not counted" in (
        caplog.messages
    )


def test_a_stranger_makes_up_no_series_with_methods(book: Ledger, recorder: Recorder) -> None:
    record = recorder.opened()
    for number in range(2 * LABEL_SETS):
        recorder.answered(record, request("/", 405, method=f"M{number}"))
        recorder.answered(record, request("", 404, method=f"M{number}"))
    for number in range(2 * LABEL_SETS):  # of a route that has no such method, its framework has told the route
        recorder.answered(record, request(f"/{number % 500}", 405, method=("PUT", "PATCH", "TRACE", "M")[number % 4]))
    recorder.answered(record, request("/new"))
    assert requests(book) == {
        (OTHER, "4xx", ""): 4.5 * LABEL_SETS,
        **{(method, "4xx", ""): 0.5 * LABEL_SETS for method in ("PUT", "PATCH", "TRACE")},
        ("GET", "2xx", "/new"): 1.0,
    }


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
    jobs, calls = Tally(""), Tally("Model")
    jobs.over("shop.pack", State.DONE, 0.0005, 0.2)
    jobs.over("shop.pack", State.DONE, 0.002, 0.3)
    jobs.over("shop.pack", State.TIMED_OUT, 4.0, 0.0)  # in the queue
    calls.over("Model.ask", State.CRASHED, 0.0, 100.0)
    jobs.refused("shop.pack")
    assert counted(book, ours.jobs_ended) == {
        ("", "shop.pack", "done"): [2.0],
        ("", "shop.pack", "timed out"): [1.0],
        ("", "shop.pack", "refused"): [1.0],
        ("Model", "Model.ask", "done"): [0.0],
        ("Model", "Model.ask", "crashed"): [1.0],
    }
    waits, runs = counted(book, ours.job_wait)["", "shop.pack"], counted(book, ours.job_run)["", "shop.pack"]
    quick, slow = waits[SECONDS.index(0.0005)], waits[SECONDS.index(0.0025)]
    assert (quick, slow, sum(waits[:-1])) == (1.0, 1.0, 3.0)
    assert (sum(runs[:-1]), runs[-1]) == (2.0, 0.5)
    beyond = counted(book, ours.job_run)["Model", "Model.ask"]
    assert beyond[len(SECONDS)] == 1.0


@pytest.mark.parametrize("seconds", [*SECONDS, 1e-9, 31.0])
def test_a_jobs_times_fall_into_the_bucket_that_any_histogram_would_choose(book: Ledger, seconds: float) -> None:
    Tally("").over("shop.pack", State.DONE, seconds, seconds)
    expected = [0.0] * (len(SECONDS) + 1)
    expected[bisect_left(SECONDS, seconds)] = 1.0
    for metric in (ours.job_wait, ours.job_run):
        assert counted(book, metric)["", "shop.pack"] == [*expected, seconds]


def test_jobs_go_on_where_the_process_counts_now(book: Ledger) -> None:
    pool = Desk().pool
    pool.tally.over("shop.pack", State.DONE, 0.0, 0.1)
    book.place(1).let(Tenant(2, "worker", 1, 1))
    counting.adopt(book.place(1))
    pool.tally.over("shop.pack", State.DONE, 0.0, 0.1)
    assert gather([book.place(1)])["prefork_jobs_total"].series == {("", "shop.pack", "done"): [1.0]}
