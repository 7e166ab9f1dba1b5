"""Items and progress of jobs, as an offloader's loop sends them."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from prefork.errors import Unsendable
from prefork.jobs import runner, wire
from prefork.jobs.client import offload
from prefork.jobs.payload import BIG_BYTES
from prefork.jobs.runner import Streamed, stream_call
from tests.jobs import work
from tests.jobs.ends import Message, Near, Start

# -- streams


@pytest.mark.parametrize("count", [0, 1, 100])
def test_a_stream_sends_each_item_and_then_its_end(near: Near, count: int) -> None:
    said = near.all_of(near.give(stream_call, work.count, count))
    assert [(message.kind, message.value) for message in said] == [
        *[(wire.ITEM, number) for number in range(count)],
        (wire.RESULT, None),
    ]


def test_large_items_come_whole_and_in_order(near: Near) -> None:
    said = near.all_of(near.give(stream_call, work.count, 5, of=BIG_BYTES))
    assert [message.value for message in said[:-1]] == [work.pattern(number, BIG_BYTES) for number in range(5)]


def test_a_large_item_is_not_written_over_one_that_was_not_read(near: Near) -> None:
    made = threading.Event()
    number = near.give(stream_call, two_large)
    work.kept.append(made)
    item = near.channel.recv(wire.MESSAGE_BYTES, 2)  # MSG_PEEK: it is there, and not read
    assert item
    made.wait()
    first = near.read()
    assert first.value == work.pattern(1, BIG_BYTES)
    near.say_read()
    second, last = near.all_of(number)
    assert second.value == work.pattern(2, BIG_BYTES)
    assert last.kind == wire.RESULT


def two_large() -> Iterator[bytes]:
    yield work.pattern(1, BIG_BYTES)
    while not work.kept:
        time.sleep(0)
    second = work.pattern(2, BIG_BYTES)
    work.kept[0].set()
    yield second


def test_any_iterable_is_a_stream(near: Near) -> None:
    said = near.all_of(near.give(stream_call, work.first, [1, None, "three"]))
    assert [message.value for message in said] == [1, None, "three", None]


def test_what_is_no_iterable_is_the_jobs_error(near: Near) -> None:
    assert isinstance(near.ask(stream_call, work.double, 1).error, TypeError)


def test_a_stream_that_fails_has_sent_what_it_had(near: Near) -> None:
    *items, last = near.all_of(near.give(stream_call, work.count_then_fail, 3))
    assert [message.value for message in items] == [0, 1, 2]
    assert isinstance(last.error, LookupError)


def test_an_item_that_cannot_be_sent_ends_the_stream_with_an_error_that_names_the_function(near: Near) -> None:
    *items, last = near.all_of(near.give(stream_call, some_unpicklable))
    assert [message.value for message in items] == [1]
    with pytest.raises(Unsendable, match=r"^tests\.jobs\.test_runner_streams\.some_unpicklable returned function, "):
        raise last.error


def some_unpicklable() -> Iterator[Any]:
    yield 1
    yield work.nameless
    yield 3


def test_an_item_that_is_a_stream_is_not_one(near: Near) -> None:
    assert near.ask(work.first, Streamed([1])).kind == wire.RESULT


def test_the_stream_of_a_worker_that_is_gone_ends_with_its_generator_closed(start: Start) -> None:
    near = start()
    near.give(stream_call, endless)
    assert near.read().value == 0
    near.channel.shutdown(2)
    near.wait_end()
    assert work.kept == ["closed"]


def endless() -> Iterator[int]:
    try:
        number = 0
        while True:
            yield number
            number += 1
    finally:
        work.kept.append("closed")


# -- progress


def reports(said: list[Message]) -> list[Any]:
    return [message.value for message in said if message.kind == wire.PROGRESS]


def report(count: int, notes: bool = True) -> int:
    for number in range(count):
        offload.progress(number, f"step {number}" if notes else "")
    return count


def report_then_fail(count: int) -> None:
    report(count)
    raise LookupError("half way")


def test_a_report_comes_at_once(near: Near) -> None:
    number = near.give(report_and_wait)
    assert near.read() == Message(wire.PROGRESS, number, (0.5, "half"))
    work.kept.append("go on")
    assert near.read().kind == wire.RESULT


def report_and_wait() -> None:
    offload.progress(0.5, "half")
    while not work.kept:
        time.sleep(0)


def test_where_time_passes_between_them_every_report_comes(near: Near, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "PROGRESS_SECONDS", 0.0)
    said = near.all_of(near.give(report, 5))
    assert reports(said) == [(number, f"step {number}") for number in range(5)]


@pytest.mark.parametrize("job", [report, report_then_fail])
def test_the_last_report_comes_before_the_end_however_fast(
    near: Near, monkeypatch: pytest.MonkeyPatch, job: Callable[[int], Any]
) -> None:
    monkeypatch.setattr(runner, "PROGRESS_SECONDS", 1e12)
    *said, last_report, end = near.all_of(near.give(job, 1000))
    assert (last_report.kind, last_report.value) == (wire.PROGRESS, (999, "step 999"))
    assert end.kind == (wire.RESULT if job is report else wire.ERROR)
    assert len(said) <= 1


def test_a_tight_loop_does_not_drown_its_worker_in_reports(near: Near) -> None:
    said = near.all_of(near.give(report, 20_000, notes=False))
    most = 2 + runner.PROGRESS_BURST + said[-1].seconds / runner.PROGRESS_SECONDS
    assert len(reports(said)) <= most < 20_000


def test_a_report_belongs_to_its_job(near: Near, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "PROGRESS_SECONDS", 1e12)
    first, second, third = near.give(report, 3), near.give(work.double, 1), near.give(report, 2)
    assert reports(near.all_of(first))[-1] == (2, "step 2")
    assert reports(near.all_of(second)) == []
    assert reports(near.all_of(third)) == [(1, "step 1")]


def test_a_large_report_does_not_hold_up_the_result(near: Near) -> None:
    note = "x" * BIG_BYTES
    told, last = near.all_of(near.give(report_at_length))
    assert (told.kind, told.value) == (wire.PROGRESS, (0.5, note))
    assert last.value == note.encode()


def test_large_reports_that_nobody_has_read_are_not_written_over(near: Near) -> None:
    near.give(report_at_length)
    number = near.give(work.double, 1)
    told, last, other = near.read(), near.read(), near.read()
    assert told.value == (0.5, "x" * BIG_BYTES)
    assert last.value == b"x" * BIG_BYTES
    assert (other.number, other.value) == (number, 2)


def report_at_length() -> bytes:
    offload.progress(0.5, "x" * BIG_BYTES)
    return b"x" * BIG_BYTES


@pytest.mark.parametrize("seconds", [0.0, 1e12], ids=["sent at once", "kept for later"])
def test_a_report_that_cannot_be_sent_is_the_jobs_error(
    near: Near, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    monkeypatch.setattr(runner, "PROGRESS_SECONDS", seconds)
    *said, last = near.all_of(near.give(report_what_cannot_be_sent))
    assert reports(said) == [(0.1, "")]
    assert "pickle" in str(last.error)
    assert near.ask(work.double, 1).value == 2


def report_what_cannot_be_sent() -> None:
    offload.progress(0.1)
    offload.progress(0.2, work.nameless)  # type: ignore[arg-type]
