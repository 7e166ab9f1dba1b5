"""What processes count in the ledger, as one who reads it sees it."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from math import inf, nan
from typing import Any

import pytest

from prefork import metrics
from prefork.metrics import counting
from prefork.metrics.counting import LABEL_CHARACTERS, LABEL_SETS, OTHER, Counting
from prefork.metrics.families import Reader, gather
from prefork.metrics.kinds import Declaration, Kind
from prefork.system import ledger
from prefork.system.ledger import HEADER_BYTES, PLACE_BYTES, Ledger, Place, Tenant

ORDERS = metrics.counter("test_orders", "Orders.", ["kind"])
PLAIN = metrics.counter("test_plain", "Without labels.")
QUEUE = metrics.gauge("test_queue", "Waiting.")
WAIT = metrics.histogram("test_wait", "Seconds.", buckets=(0.1, 1.0))


@pytest.fixture
def book() -> Iterator[Ledger]:
    """A ledger; afterwards this process counts for itself again."""
    descriptor = ledger.create()
    yield Ledger(descriptor)
    counting.adopt(None)
    os.close(descriptor)


def enter(book: Ledger, index: int, pid: int, generation: int = 1) -> None:
    """Count as a new process in that place."""
    book.place(index).let(Tenant(pid, "worker", index, generation))
    counting.adopt(book.place(index), generation=generation)


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


@pytest.mark.parametrize(("across", "told"), [("sum", 9.0), ("max", 7.0), ("min", 2.0)])
def test_gauges_of_several_processes_become_one(book: Ledger, across: str, told: float) -> None:
    gauge = metrics.gauge(f"test_{across}", "One of several.", across=across)
    for index, value in enumerate((7, 2)):
        enter(book, index, pid=100 + index)
        gauge.set(value)
    assert gather(book.places())[f"test_{across}"].series == {(): [told]}


def test_label_sets_are_bounded_and_what_is_more_is_counted_together(
    book: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    enter(book, 0, pid=100)
    for number in range(LABEL_SETS):
        ORDERS.labels(number).inc()
    assert not caplog.messages
    for number in range(LABEL_SETS, LABEL_SETS + 5):
        ORDERS.labels(number).inc()
    series = gather(book.places())["test_orders"].series
    assert len(series) == LABEL_SETS + 1
    assert series[(OTHER,)] == [5.0]
    assert caplog.messages == [
        "metric test_orders has more than 1000 sets of labels; what is more is counted as (other)"
    ]


def test_a_series_that_is_not_kept_follows_the_process_to_its_place(book: Ledger) -> None:
    metric = metrics.counter("test_many", "Many.", ["number"])
    for number in range(LABEL_SETS + 1):
        last = metric.labels(number)
    enter(book, 0, pid=100)
    last.inc()
    enter(book, 1, pid=101)
    last.inc()
    assert gather(book.places())["test_many"].series == {(str(LABEL_SETS),): [2.0]}


def test_a_label_is_cut_and_cleaned(book: Ledger) -> None:
    enter(book, 0, pid=100)
    for value in ("x" * LABEL_CHARACTERS, "y" * (LABEL_CHARACTERS + 1), "é\udc80", 'a"\n'):
        ORDERS.labels(value).inc()
    kept = {labels[0] for labels in gather(book.places())["test_orders"].series}
    assert kept == {"x" * LABEL_CHARACTERS, "y" * (LABEL_CHARACTERS - 1) + "…", "é?", 'a"\n'}


def test_a_full_place_keeps_what_it_has_and_says_so_once(book: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    enter(book, 0, pid=100)
    ORDERS.labels("first").inc()
    buckets = tuple(float(number) for number in range(1, 101))
    large = metrics.histogram("test_large", "Large.", ["number"], buckets)
    for number in range(PLACE_BYTES // 800):
        large.labels(number).observe(1)
    for number in range(40):  # what the large ones could not use
        ORDERS.labels(number).inc()
    ORDERS.labels("first").inc()
    ORDERS.labels("last").inc()
    series = gather(book.places())["test_orders"].series
    assert series[("first",)] == [2.0]
    assert ("last",) not in series
    assert caplog.messages == [
        f"metric {name} has no room left in the ledger; what is new of it is not counted"
        for name in ("test_large", "test_orders")
    ]


def test_what_has_no_labels_is_told_before_it_is_counted(book: Ledger) -> None:
    enter(book, 0, pid=100)
    assert gather(book.places())["test_plain"].series == {(): [0.0]}
    assert "test_orders" not in gather(book.places())


def test_a_metric_with_other_buckets_after_a_reload_is_that_of_the_new_generation(book: Ledger) -> None:
    before = Declaration(Kind.HISTOGRAM, "test_shape", "Before.", (), (1.0, 2.0))
    after = Declaration(Kind.HISTOGRAM, "test_shape", "After.", (), (1.0, 2.0, 3.0))
    other = Declaration(Kind.COUNTER, "test_beside", "Beside it.")
    for index, generation, declaration in ((0, 1, before), (1, 1, before), (0, 2, after)):
        enter(book, index, 100 + index, generation)
        words, first = counting.current().series(declaration, ())
        beside, at = counting.current().series(other, ())
        for number in range(declaration.words):
            words[first + number] += 1
        beside[at] += 1
    found = gather(book.places())
    assert found["test_shape"].declaration == after
    assert found["test_shape"].series == {(): [1.0] * after.words}
    assert found["test_beside"].series == {(): [3.0]}


def test_who_goes_on_in_an_older_place_and_has_not_counted_says_nothing_of_shapes(book: Ledger) -> None:
    before = Declaration(Kind.HISTOGRAM, "test_shape", "Before.", (), (1.0, 2.0))
    after = Declaration(Kind.HISTOGRAM, "test_shape", "After.", (), (1.0, 2.0, 3.0))
    enter(book, 1, 100, generation=1)
    counting.current().series(before, ())
    enter(book, 0, 101, generation=2)
    words, first = counting.current().series(after, ())
    words[first] = 7.0
    enter(book, 1, 102, generation=2)
    found = gather(book.places())["test_shape"]
    assert (found.declaration, found.series[()][0]) == (after, 7.0)


def test_a_generation_that_was_rolled_back_has_not_the_last_word(book: Ledger) -> None:
    before = Declaration(Kind.COUNTER, "test_shape", "Before.", ("kind",))
    after = Declaration(Kind.COUNTER, "test_shape", "After.", ("kind", "colour"))
    enter(book, 0, 100, generation=1)
    words, first = counting.current().series(before, ("book",))
    enter(book, 1, 101, generation=2)
    counting.current().series(after, ("book", "red"))
    assert gather(book.places())["test_shape"].declaration == after
    book.place(1).clear()
    words[first] = 7.0
    assert gather(book.places())["test_shape"].series == {("book",): [7.0]}
    book.place(0).clear()
    assert gather(book.places())["test_shape"].declaration == after


def test_other_words_of_help_are_the_same_metric(book: Ledger) -> None:
    for index, words in enumerate(("Old.", "New.")):
        enter(book, index, 100, generation=index + 1)
        found, first = counting.current().series(Declaration(Kind.COUNTER, "test_words", words), ())
        found[first] += 1
    family = gather(book.places())["test_words"]
    assert (family.declaration.help, family.series) == ("New.", {(): [2.0]})


def test_a_reader_that_stays_sees_what_is_new(book: Ledger) -> None:
    reader = Reader()
    enter(book, 0, pid=100)
    ORDERS.labels("a").inc()
    assert reader.gather(book.places())["test_orders"].series == {("a",): [1.0]}
    ORDERS.labels("a").inc()
    ORDERS.labels("b").inc()
    assert reader.gather(book.places())["test_orders"].series == {("a",): [2.0], ("b",): [1.0]}


def test_a_place_that_was_written_over_harms_no_other(book: Ledger) -> None:
    for index in range(2):
        enter(book, index, pid=100)
        ORDERS.labels("a").inc()
    book.place(0).row(Kind.COUNTER, b'[99,"x"]', 1)
    book.place(0).row(Kind.COUNTER, b"no json", 1)
    assert gather(book.places())["test_orders"].series == {("a",): [2.0]}


def test_what_makes_no_sense_ends_with_its_process(book: Ledger) -> None:
    reader = Reader()
    enter(book, 0, pid=100)
    ORDERS.labels("a").inc()
    for kind, key, numbers in (
        (Kind.COUNTER, b"no json", 1),
        (Kind.COUNTER, b'[0,"b","c"]', 1),
        (Kind.COUNTER, b'[0,"b"]', 2),
        (Kind.DECLARATION, b"{}", 1),
        (Kind.DECLARATION, ORDERS.declaration.encode(), 0),
    ):
        book.place(0).row(kind, key, numbers)
        ORDERS.labels("lost").inc()
        assert reader.gather(book.places())["test_orders"].series == {("a",): [1.0]}
        enter(book, 0, pid=101)
    ORDERS.labels("b").inc()
    assert reader.gather(book.places())["test_orders"].series == {("a",): [1.0], ("b",): [1.0]}


@pytest.mark.parametrize("end", [5, HEADER_BYTES + 4, PLACE_BYTES + 8, 2**63])
def test_an_end_that_makes_no_sense_harms_nobody(book: Ledger, end: int) -> None:
    enter(book, 0, pid=100)
    ORDERS.labels("a").inc()
    memoryview(book.place(0).words).cast("B").cast("Q")[0] = end
    gather(book.places())
    enter(book, 0, pid=101)
    ORDERS.labels("b").inc()
    assert gather(book.places())["test_orders"].series[("b",)] == [1.0]
    assert book.place(0).tenant == Tenant(101, "worker", 0, 1)


def test_who_was_killed_while_it_made_a_row_leaves_nothing_in_the_numbers_of_the_next(book: Ledger) -> None:
    enter(book, 0, pid=100)
    kept = memoryview(book.place(0).words).cast("B").cast("Q")
    before = kept[0]
    ORDERS.labels("x" * LABEL_CHARACTERS).inc()
    kept[0] = before  # as it was until the row was whole
    enter(book, 0, pid=101)
    for number in range(3):
        ORDERS.labels(number).inc()
    assert gather(book.places())["test_orders"].series == {(str(number),): [1.0] for number in range(3)}


def test_threads_lose_nothing(book: Ledger) -> None:
    enter(book, 0, pid=100)

    def count() -> None:
        for number in range(2000):
            ORDERS.labels(number % 50).inc()
            WAIT.observe(0.5)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = gather(book.places())
    assert found["test_orders"].series == {(str(number),): [160.0] for number in range(50)}
    assert found["test_wait"].series == {(): [0.0, 8000.0, 0.0, 4000.0]}
    assert Counting(book.place(0)).series(WAIT.declaration, ())[0][0] is not None  # its rows are whole


def test_a_signal_handler_may_count_while_its_thread_does(book: Ledger) -> None:
    enter(book, 0, pid=100)
    before = signal.signal(signal.SIGUSR1, lambda *_: PLAIN.inc())
    try:
        with counting.lock:
            os.kill(os.getpid(), signal.SIGUSR1)
            PLAIN.inc()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert gather(book.places())["test_plain"].series == {(): [2.0]}


def test_a_signal_handler_may_make_a_row_while_its_thread_does(book: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(book, 0, pid=100)
    handled = metrics.counter("test_handled", "Signals.", ["kind"])
    row = Place.row

    def interrupted(place: Place, *what: Any) -> int:
        first = row(place, *what)
        signal.raise_signal(signal.SIGUSR1)
        return first

    def handle(*_: object) -> None:
        monkeypatch.setattr(Place, "row", row)
        handled.labels("usr1").inc()

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        for number in range(3):
            monkeypatch.setattr(Place, "row", interrupted)
            ORDERS.labels(number).inc(5)
            handled.labels("usr1").inc()
    finally:
        signal.signal(signal.SIGUSR1, before)
    found = gather(book.places())
    assert found["test_orders"].series == {(str(number),): [5.0] for number in range(3)}
    assert found["test_handled"].series == {("usr1",): [6.0]}


def test_a_process_that_was_forked_by_the_app_does_not_write_into_the_place_of_its_parent(book: Ledger) -> None:
    enter(book, 0, pid=100)
    PLAIN.inc()
    with counting.lock:  # as another thread might, at that moment; here it is ours, which the child has too
        pid = os.fork()
        if pid == 0:
            with suppress(BaseException):
                PLAIN.inc(5)
                os._exit(0 if "test_plain_total 5.0" in metrics.text() else 1)
            os._exit(2)
    assert os.waitpid(pid, 0)[1] == 0
    assert gather(book.places())["test_plain"].series == {(): [1.0]}


@pytest.mark.parametrize("amount", [-1, nan, inf])
def test_a_counter_takes_no_amount_that_would_spoil_it(amount: float) -> None:
    with pytest.raises(ValueError, match="a counter only grows"):
        PLAIN.inc(amount)


@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_a_histogram_takes_only_numbers(value: float) -> None:
    with pytest.raises(ValueError, match="a histogram counts numbers"):
        WAIT.observe(value)


def test_labels_must_be_those_declared() -> None:
    with pytest.raises(ValueError, match="has 1 labels, and 0 were given"):
        ORDERS.inc()
    with pytest.raises(ValueError, match="has the labels kind"):
        ORDERS.labels(sort="x")
    with pytest.raises(ValueError, match="has 0 labels, and 1 were given"):
        PLAIN.labels("x")
