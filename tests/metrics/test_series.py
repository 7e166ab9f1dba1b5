"""What processes count in the ledger, as one who reads it sees it."""

import os
from collections.abc import Iterator

import pytest

from prefork import metrics
from prefork.metrics import counting
from prefork.metrics.counting import LABEL_SETS, OTHER
from prefork.metrics.families import gather
from prefork.system import ledger
from prefork.system.ledger import Ledger, Tenant

ORDERS = metrics.counter("test_orders", "Orders.", ["kind"])
QUEUE = metrics.gauge("test_queue", "Waiting.")
WAIT = metrics.histogram("test_wait", "Seconds.", buckets=(0.1, 1.0))


@pytest.fixture
def book() -> Iterator[Ledger]:
    """A ledger; afterwards this process counts for itself again."""
    descriptor = ledger.create()
    yield Ledger(descriptor)
    counting.adopt(None)
    os.close(descriptor)


def enter(book: Ledger, index: int, pid: int) -> None:
    """Count as a new process in that place."""
    book.place(index).let(Tenant(pid, "worker", index, 1))
    counting.adopt(book.place(index))


def test_what_processes_count_is_summed_and_survives_them(book: Ledger) -> None:
    enter(book, 0, pid=100)
    ORDERS.labels("book").inc()
    enter(book, 1, pid=101)
    ORDERS.labels(kind="book").inc(2)
    WAIT.observe(0.1)
    WAIT.observe(5)
    book.place(0).clear()
    enter(book, 0, pid=102)
    ORDERS.labels("book").inc()
    families = gather(book.places())
    assert families["test_orders"].series == {("book",): [4.0]}
    assert families["test_wait"].series == {(): [1.0, 0.0, 1.0, 5.1]}


def test_a_gauge_tells_of_processes_that_live(book: Ledger) -> None:
    enter(book, 0, pid=100)
    QUEUE.set(7)
    enter(book, 1, pid=101)
    QUEUE.inc(2)
    assert gather(book.places())["test_queue"].series == {(): [9.0]}
    book.place(0).clear()
    assert gather(book.places())["test_queue"].series == {(): [2.0]}
    enter(book, 0, pid=102)  # which has not said anything yet
    assert gather(book.places())["test_queue"].series == {(): [2.0]}


def test_label_sets_are_bounded_and_what_is_more_is_counted_together(book: Ledger) -> None:
    enter(book, 0, pid=100)
    for number in range(LABEL_SETS + 5):
        ORDERS.labels(number).inc()
    series = gather(book.places())["test_orders"].series
    assert len(series) == LABEL_SETS + 1
    assert series[(OTHER,)] == [5.0]
