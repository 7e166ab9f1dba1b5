"""An offloader's loop on the far end of a channel: what it runs, and what it says of it."""

import threading
import time
from collections.abc import Callable
from decimal import getcontext
from typing import Any

import pytest

from prefork.errors import OffloadError, Unsendable
from prefork.jobs import hooks, wire
from prefork.jobs.payload import BIG_BYTES, Payload
from prefork.jobs.runner import About, offloaded, stream_call
from tests.jobs import work
from tests.jobs.ends import Message, Near, Start
from tests.processes.patience import GUARD_SECONDS

MIB = 1 << 20


# -- one job


def test_a_job_gets_its_arguments_and_gives_its_result(near: Near) -> None:
    assert near.ask(work.echo, 1, "two", key=[3]).value == ((1, "two"), {"key": [3]})


def test_each_last_word_has_the_number_of_its_job(near: Near) -> None:
    numbers = [near.give(work.double, number) for number in range(100)]
    assert [(near.read().number, 2 * number) for number in range(100)] == [
        (number, 2 * place) for place, number in enumerate(numbers)
    ]


def test_a_job_that_raises_says_so_and_the_next_one_runs(near: Near) -> None:
    error = near.ask(work.fail_by_type, work.Required, 7, reason="none").error
    assert isinstance(error, work.Required)
    assert error.code == 7
    assert near.ask(work.double, 1).value == 2


def test_a_traceback_begins_with_the_apps_own_code(near: Near) -> None:
    cause = str(near.ask(work.fail, ValueError("bad")).error.__cause__)
    assert "in fail" in cause
    assert "runner.py" not in cause
    assert "call_job" not in cause


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), StopIteration(1), StopAsyncIteration(1)]
)
def test_no_exception_of_a_job_ends_its_offloader(near: Near, error: BaseException) -> None:
    told = near.ask(work.fail_by_type, type(error), *error.args)
    assert type(told.error) is OffloadError
    assert near.ask(work.double, 1).value == 2


def test_an_exception_that_cannot_be_told_is_one_all_the_same(near: Near) -> None:
    for kind in (work.Wordless, work.Stubborn, work.Holding):
        error = near.ask(work.fail_by_type, kind, "text").error
        assert isinstance(error, Exception)
        assert kind.__name__ in repr(error) + str(error.__cause__)
        assert "in fail_by_type" in str(error.__cause__)
    assert near.ask(work.double, 1).value == 2


@pytest.mark.parametrize(
    ("function", "args", "words"),
    [
        (work.lambda_result, (), r"^tests\.jobs\.work\.lambda_result returned function, which cannot be pickled: "),
        (iter, ([1],), None),
        (threading.Lock, (), r"lock returned _thread\.lock, which cannot be pickled: .*; return plain data$"),
        (work.count, (3,), r"^tests\.jobs\.work\.count returned generator, which cannot be pickled: "),
    ],
)
def test_a_result_that_cannot_be_sent_is_an_error_that_names_function_and_type(
    near: Near, function: Callable[..., Any], args: tuple[Any, ...], words: str | None
) -> None:
    told = near.ask(function, *args)
    if words is None:
        assert told.kind == wire.RESULT
    else:
        with pytest.raises(Unsendable, match=words):
            raise told.error
    assert near.ask(work.double, 1).value == 2


def test_arguments_that_cannot_be_made_anew_are_the_jobs_error(near: Near) -> None:
    for more in ((), (b"x" * BIG_BYTES,)):
        with pytest.raises(LookupError, match="not here"):
            raise near.ask(work.echo, work.Unmakeable(), *more).error
    assert near.ask(work.double, 1).value == 2


def test_a_function_whose_module_is_not_there_is_the_jobs_error(near: Near) -> None:
    near.send(wire.JOB, Payload(b"cno.such.module\nf\n(tN.", ()), 1)
    (told,) = near.all_of(1)
    assert isinstance(told.error, ModuleNotFoundError)


def test_a_last_word_says_how_long_the_job_ran(near: Near) -> None:
    began = time.monotonic()
    told = near.ask(time.sleep, 0.01)
    assert 0.01 <= told.seconds <= time.monotonic() - began


def test_code_can_tell_that_it_runs_in_an_offloader(start: Start) -> None:
    assert not offloaded()
    near = start()
    assert near.ask(offloaded).value is True


# -- large payloads


def test_large_arguments_and_results_come_through_arenas(near: Near) -> None:
    for number, count in enumerate([BIG_BYTES, 4 * MIB, BIG_BYTES // 4, 100, 20 * MIB]):
        sent = work.pattern(number, count // 4)
        told = near.ask(work.echo, sent, bytearray(sent), key=sent)
        assert told.value == ((sent, bytearray(sent)), {"key": sent})


def test_an_arena_is_sent_once(near: Near) -> None:
    flags = [near.ask(work.pattern, 1, BIG_BYTES).flags for _ in range(3)]
    assert flags == [wire.IN_ARENA | wire.NEW_ARENA, wire.IN_ARENA, wire.IN_ARENA]


def test_a_result_may_fill_the_arena_and_a_larger_one_is_refused_by_name(start: Start) -> None:
    near = start(offload_arena=MIB)
    assert len(near.ask(work.pattern, 1, (MIB - 1024) // 4).value) == MIB - 1024
    with pytest.raises(Unsendable, match=r"^the result of tests\.jobs\.work\.pattern: \d+ bytes are more than off"):
        raise near.ask(work.pattern, 1, MIB // 4).error
    with pytest.raises(Unsendable, match=r"^an item of tests\.jobs\.work\.count: \d+ bytes are more than offload_"):
        raise near.ask(stream_call, work.count, 1, MIB).error


def test_arguments_are_seen_where_they_are_and_can_be_written(near: Near) -> None:
    numpy = pytest.importorskip("numpy")
    assert near.ask(writable, numpy.zeros(BIG_BYTES)).value
    assert near.ask(writable, memoryview(bytearray(BIG_BYTES))).value
    assert not near.ask(writable, memoryview(b"x" * BIG_BYTES)).value


def writable(data: Any) -> bool:
    return not memoryview(data).readonly


def test_what_a_job_keeps_of_bytes_is_its_own(near: Near) -> None:
    sent = [work.pattern(number, BIG_BYTES) for number in range(3)]
    for each in sent:
        assert not near.ask(work.keep, each).flags & wire.KEPT
    assert work.kept == sent


@pytest.mark.parametrize("kind", ["memoryview", "numpy", "part of numpy", "read-only numpy", "numpy of memoryview"])
def test_what_a_job_keeps_of_its_arguments_is_never_written_again(near: Near, kind: str) -> None:
    numpy = pytest.importorskip("numpy")
    for number in range(3):
        sent = numpy.full(MIB, number, "u1")
        sent.flags.writeable = kind != "read-only numpy"
        flags = near.ask(keep_as, kind, memoryview(sent) if "memoryview" in kind else sent).flags
        assert flags & wire.KEPT
        assert not near.ask(work.size_of, sent).flags & wire.KEPT
    assert [bytes(each) for each in work.kept] == [
        bytes([number]) * len(bytes(each)) for number, each in enumerate(work.kept)
    ]


def keep_as(kind: str, data: Any) -> None:
    numpy = pytest.importorskip("numpy")
    if kind == "numpy of memoryview":
        data = numpy.frombuffer(data, "u1")
    work.kept.append(data[100:200] if kind == "part of numpy" else data)


def test_a_result_may_be_made_of_the_arguments(near: Near) -> None:
    numpy = pytest.importorskip("numpy")
    for number in range(3):
        back = near.ask(work.double, numpy.full(MIB, number)).value
        assert (back == 2 * number).all()
        assert (near.ask(work.first, numpy.full(MIB, number)).value == number).all()


def test_a_job_that_returns_its_arguments_keeps_nothing_of_them(near: Near) -> None:
    told = near.ask(work.first, memoryview(bytearray(BIG_BYTES)))
    assert told.value == bytes(BIG_BYTES)
    assert not told.flags & wire.KEPT


def test_a_large_result_is_not_written_over_one_that_was_not_read(near: Near) -> None:
    near.give(work.pattern, 1, BIG_BYTES)
    near.give(work.pattern, 2, BIG_BYTES)
    begun = tell_after(near)
    assert begun.wait(GUARD_SECONDS)
    first, second = near.read(), near.read()
    assert (first.value, second.value) == (work.pattern(1, BIG_BYTES), work.pattern(2, BIG_BYTES))
    assert second.flags & wire.NEW_ARENA


def test_a_word_that_a_result_was_read_is_of_that_one_and_not_of_a_later_one(near: Near) -> None:
    """Two results in arenas of their own, the first of which was read: the third is not written over the second."""
    for number in (1, 2):
        near.give(work.pattern, number, BIG_BYTES)
    begun = tell_after(near)
    assert begun.wait(GUARD_SECONDS)
    assert near.read().value == work.pattern(1, BIG_BYTES)
    near.say_read()
    near.give(work.pattern, 3, BIG_BYTES)
    begun = tell_after(near)
    assert begun.wait(GUARD_SECONDS)
    assert near.read().value == work.pattern(2, BIG_BYTES)
    assert near.read().kind == wire.RESULT
    assert near.read().value == work.pattern(3, BIG_BYTES)


def tell_after(near: Near) -> threading.Event:
    """Set when the results of all jobs so far have been sent."""
    begun = threading.Event()
    work.kept[:] = [begun]
    near.give(tell)
    return begun


def tell() -> None:
    work.kept[0].set()


def test_an_exception_may_be_large_but_no_larger_than_the_arena(start: Start) -> None:
    near = start(offload_arena=MIB)
    assert str(near.ask(fail_at_length, MIB // 4).error) == "x" * (MIB // 4)
    told = near.ask(fail_at_length, 4 * MIB)
    assert type(told.error) is OffloadError
    assert "ValueError, which is larger than offload_arena" in str(told.error)
    assert near.ask(work.double, 1).value == 2


def fail_at_length(count: int) -> None:
    raise ValueError("x" * count)


# -- hooks, beginning and end


def test_start_hooks_run_in_order_before_the_offloader_is_ready(start: Start) -> None:
    near = start(serve=False)
    hooks.on_start.append(lambda: work.kept.append(1))
    hooks.on_start.append(lambda: work.kept.append(near.read_now()))
    near.runner.start()
    assert work.kept == [1, None]
    assert near.read().kind == wire.READY


def test_an_offloader_whose_start_hook_raises_is_not_ready(start: Start) -> None:
    near = start(serve=False)
    hooks.on_start.append(lambda: work.fail(LookupError("no model")))
    with pytest.raises(LookupError, match="no model"):
        near.runner.start()
    assert near.read_now() is None
    near.runner.not_ready("traceback: no model")
    assert near.read() == Message(wire.NOT_READY, 0, "traceback: no model")


def test_a_long_reason_arrives_too(start: Start) -> None:
    near = start(serve=False)
    near.runner.not_ready("x" * MIB)
    assert near.read().value == "x" * MIB


def test_start_hooks_of_a_module_that_comes_with_a_job_run_once_before_it(near: Near) -> None:
    hooks.on_start.append(lambda: work.kept.append("hook"))
    assert near.ask(what_is_kept).value == ["hook"]
    assert near.ask(what_is_kept).value == ["hook"]


def test_a_start_hook_that_came_late_and_raises_fails_every_job_until_it_does_not(near: Near) -> None:
    def hook() -> None:
        if not work.kept:
            raise LookupError("no model")

    hooks.on_start.append(hook)
    for _ in range(2):
        with pytest.raises(LookupError, match="no model"):
            raise near.ask(work.double, 1).error
    work.kept.append("model")
    assert near.ask(work.double, 1).value == 2


def what_is_kept() -> list[Any]:
    return list(work.kept)


def test_stop_hooks_all_run_though_one_raises_which_is_logged(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    near = start(serve=False)
    assert near.runner.stop() == 0
    hooks.on_stop.append(lambda: work.kept.append(1))
    hooks.on_stop.append(lambda: work.fail(LookupError("no")))
    hooks.on_stop.append(lambda: work.kept.append(2))
    assert near.runner.stop() == 1
    assert work.kept == [1, 2]
    (record,) = caplog.records
    assert "offload stop hook" in record.getMessage()
    assert record.exc_info is not None


def test_an_offloader_serves_until_its_worker_lets_it_go(start: Start) -> None:
    near = start()
    numbers = [near.give(work.double, number) for number in range(3)]
    near.channel.shutdown(1)
    near.wait_end()
    assert [near.read().number for _ in numbers] == numbers


def test_what_is_no_job_is_passed_over(near: Near) -> None:
    near.say_read()
    near.say_read()
    assert near.ask(work.double, 1).value == 2


def test_a_late_word_that_an_item_was_read_does_not_reach_the_next_stream(near: Near) -> None:
    number = near.give(stream_call, work.count, 2, of=BIG_BYTES)
    near.all_of(number)
    near.say_read()
    said = near.all_of(near.give(stream_call, work.count, 3, of=BIG_BYTES))
    assert [message.value for message in said[:-1]] == [work.pattern(each, BIG_BYTES) for each in range(3)]


def test_what_a_start_hook_has_set_for_its_thread_holds_for_every_job(start: Start) -> None:
    """As decimal's precision, or NumPy's handling of errors."""
    near = start(serve=False)
    hooks.on_start.append(lambda: setattr(getcontext(), "prec", 7))
    assert near.begin(starts=True).read().kind == wire.READY
    for about in (None, About("r", {}, 0, 0.0, 0)):
        assert near.ask(work.precision, about=about).value == 7
