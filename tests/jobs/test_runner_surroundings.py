"""What a job has around it in an offloader, and that nothing of it is left to the next one."""

import logging
import os
import resource
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from prefork.errors import Crashed, Unsendable
from prefork.jobs import context, hooks, wire
from prefork.jobs.runner import About, stream_call
from prefork.system.log import TextFormatter
from tests.jobs import work
from tests.jobs.ends import Near, Start

SLACK = 8 << 30  # of address space that threads and allocators of a test run may take meanwhile


def about(
    named: dict[str, Any] | None = None,
    request: str | None = None,
    memory: int = 0,
    cpu_seconds: float = 0.0,
    nice: int = 0,
) -> About:
    return About(request, named or {}, memory, cpu_seconds, nice)


# -- what comes along


def test_a_job_sees_the_carried_variables_and_the_next_one_does_not(
    near: Near, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "_carried", {})
    context.carry(work.user)
    assert near.ask(work.who, about=about({work.user.name: "ann"})).value == "ann"
    assert near.ask(work.who, about=about(request="r")).value == "nobody"
    assert near.ask(work.who).value == "nobody"


def test_what_a_job_sets_is_gone_with_it(near: Near) -> None:
    for extra in (None, about(request="r")):
        assert near.ask(become, "bob", about=extra).value == "bob"
        assert near.ask(work.who, about=extra).value == "nobody"


def become(name: str) -> str:
    work.user.set(name)
    return work.who()


def test_a_variable_that_is_not_known_is_the_jobs_error(near: Near) -> None:
    with pytest.raises(Unsendable, match="context variable 'other' is not known"):
        raise near.ask(work.who, about=about({"other": 1})).error


def log_line() -> str:
    return TextFormatter().format(logging.makeLogRecord({"name": "app", "levelname": "INFO", "msg": "hello"}))


def test_a_log_line_of_a_job_carries_job_and_request_and_none_after_it_does(near: Near) -> None:
    assert near.ask(log_line, about=about(request="r-1")).value.endswith(
        f"[{os.getpid()}] job 1 request r-1 app: hello"
    )
    assert near.ask(log_line).value.endswith(f"[{os.getpid()}] job 2 app: hello")
    near.ask(work.fail, LookupError())
    near.channel.shutdown(1)
    near.wait_end()
    assert log_line().endswith(f"[{os.getpid()}] app: hello")


def test_code_that_is_run_for_a_stream_has_its_context_too(near: Near, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "_carried", {})
    context.carry(work.user)
    said = near.all_of(near.give(stream_call, who_streams, about=about({work.user.name: "ann"})))
    assert [message.value for message in said[:-1]] == ["ann", "ann"]


def who_streams() -> Iterator[str]:
    yield work.who()
    yield work.who()


# -- limits


def limits() -> tuple[int, int]:
    return resource.getrlimit(resource.RLIMIT_AS)[0], resource.getrlimit(resource.RLIMIT_CPU)[0]


def test_limits_hold_for_their_job_only(near: Near) -> None:
    before = limits()
    used = time.process_time()
    space, cpu = near.ask(limits, about=about(memory=SLACK, cpu_seconds=1000.5)).value
    assert 0 < space - SLACK < 1 << 40
    assert used + 1000.5 <= cpu <= time.process_time() + 1001.5
    assert near.ask(limits).value == before
    near.ask(work.fail, LookupError(), about=about(memory=SLACK, cpu_seconds=1000))
    assert limits() == before


def test_a_job_beyond_its_memory_has_crashed_and_its_offloader_leaves(start: Start) -> None:
    near = start()
    told = near.ask(bytearray, 64 << 30, about=about(memory=SLACK))
    error = told.error
    assert isinstance(error, Crashed)
    assert error.cause == "memory"
    assert str(error) == f"builtins.bytearray needed more memory than its limit of {SLACK} bytes"
    assert told.flags & wire.LEAVING
    near.wait_end()


def test_a_job_within_its_memory_is_left_alone(near: Near) -> None:
    told = near.ask(len, b"x", about=about(memory=SLACK))
    assert (told.value, told.flags) == (1, 0)


def test_lack_of_memory_without_a_limit_is_the_jobs_error(near: Near) -> None:
    told = near.ask(work.fail_by_type, MemoryError)
    assert type(told.error) is MemoryError
    assert not told.flags & wire.LEAVING


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_an_offloader_becomes_as_nice_as_its_job_and_stays(near: Near) -> None:
    before = niceness()
    assert near.ask(niceness).value == before
    assert near.ask(niceness, about=about(nice=3)).value == min(before + 3, 19)
    assert near.ask(niceness, about=about(nice=1)).value == min(before + 3, 19)
    assert near.ask(niceness).value == min(before + 3, 19)


@pytest.mark.parametrize("most", [1, 3])
def test_an_offloader_leaves_after_so_many_jobs_and_says_so_with_the_last(start: Start, most: int) -> None:
    near = start(offload_max_jobs=most)
    numbers = [near.give(work.double, 1) for _ in range(most + 1)]
    said = [near.read() for _ in numbers[:most]]
    assert [bool(message.flags & wire.LEAVING) for message in said] == [False] * (most - 1) + [True]
    near.wait_end()
    assert near.read_now() is None


@pytest.mark.parametrize(("most", "leaves"), [(0, False), (1, True), (1 << 40, False)])
def test_an_offloader_leaves_when_it_holds_too_much_memory(start: Start, most: int, leaves: bool) -> None:
    near = start(offload_max_rss=most)
    assert bool(near.ask(work.double, 1).flags & wire.LEAVING) is leaves


# -- children


def test_what_a_job_leaves_behind_is_ended_before_its_last_word(near: Near) -> None:
    pids = near.ask(work.spawn, 3).value
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_what_a_start_hook_has_started_stays(start: Start) -> None:
    near = start(serve=False)
    hooks.on_start.append(lambda: work.kept.extend(work.spawn(1)))
    near.runner.start()
    assert near.read().kind == wire.READY
    near.begin()
    (gone,) = near.ask(work.spawn, 1).value
    (stays,) = work.kept
    with pytest.raises(ProcessLookupError):
        os.kill(gone, 0)
    os.kill(stays, 9)
    assert os.waitpid(stays, 0)[0] == stays
