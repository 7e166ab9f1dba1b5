"""Calls on their way to an actor's processes, each played by hand, and back."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from msgspec.structs import replace

from prefork.children.actors.calls import AGAIN_SECONDS, Call, Mailbox
from prefork.children.actors.crew import ActorHandle
from prefork.children.actors.sessions import CLOSE, MORE, OPEN, Page
from prefork.core.job import State
from prefork.errors import Crashed, QueueFull, Timeout
from prefork.jobs.local import SLOW_SECONDS
from prefork.jobs.options import Terms
from prefork.messages import ActorUp
from prefork.settings import Settings
from prefork.system import board
from prefork.system.board import Board
from prefork.system.channel import seqpacket_pair
from tests.jobs.ends import Far
from tests.jobs.loop import JobLoop

TIMEOUT = 10.0
GRACE = 1.0
MAILBOX = 3
OTHERS = 1  # a seat that is not ours


class Process(Far):
    """One process, with its board."""

    def __init__(self, number: int, near: int, far: int) -> None:
        stacks = os.memfd_create("stacks")
        shared = board.create()
        super().__init__(number, [far, stacks])
        self.board = Board(shared)
        self.board.take_seat(0)
        self.board.take_seat(OTHERS)
        self.handle = ActorHandle(ActorUp(1, number, 0, 4000 + number), [near, far, stacks, shared])

    def begin(self, now: float) -> int:
        """Read the next call, which runs from now on. Returns its number."""
        self.board.begin(now)
        return self.take()

    def close(self) -> None:
        super().close()
        self.board.close()


class Site:
    """The mailbox of a loop, and its processes."""

    def __init__(self, count: int) -> None:
        self.loop = JobLoop()
        self.ended: list[tuple[int, float, float]] = []
        self._open = ExitStack()
        settings = replace(Settings(), offload_queue=MAILBOX, offload_wait_seconds=1e9, offload_nice=0)
        terms = Terms(TIMEOUT, GRACE, 0, False, 0, 0, 0.0, 0)
        self.calls = self.loop.call(lambda: Mailbox(settings, terms, count, self))
        self.processes = [self.join(number) for number in range(count)]

    def end(self, process: int, grace: float, began: float) -> None:
        self.ended.append((process, grace, began))

    def join(self, number: int) -> Process:
        near, far = seqpacket_pair()
        process = Process(number, near.detach(), far.detach())
        self._open.callback(process.close)
        self.loop.call(self.calls.backend.join, process.handle)
        return process

    def call(self, what: Any = "predict") -> Call:
        return self.loop.call(self.calls.call, what, "shop.Model.predict", (1,), {})

    def returns(self, process: Process, number: int, value: Any = None, seconds: float = 1.0) -> None:
        process.board.end()
        process.returns(number, value, seconds)
        self.loop.run()

    def die(self, process: Process, status: int = 9) -> None:
        self.loop.call(self.calls.backend.gone, process.number, status, False, "")

    def close(self) -> None:
        self.loop.result(self.calls.close())
        self._open.close()


@pytest.fixture
def site() -> Iterator[Site]:
    yield from closing(Site(1))


@pytest.fixture
def pair() -> Iterator[Site]:
    yield from closing(Site(2))


def closing(site: Site) -> Iterator[Site]:
    yield site
    site.close()
    assert site.loop.faults == []


def state(call: Call) -> State:
    return call.state


def test_a_call_goes_out_at_once_and_its_answer_comes_back(site: Site) -> None:
    call = site.call()
    (process,) = site.processes
    message = process.read()
    assert message.value == ("predict", (1,), {}, None)
    site.returns(process, message.number, "y")
    assert call.outcome.result() == "y"


def test_one_call_too_many_for_the_mailbox_is_refused(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    running = site.call()
    waiting = [site.call() for _ in range(MAILBOX)]
    with pytest.raises(QueueFull, match=r"3 calls wait already \(mailbox = 3\)"):
        site.call()
    assert [record.name for record in caplog.records] == ["prefork.actors"]
    assert site.processes[0].given() == [running.number]
    site.returns(site.processes[0], running.number)
    assert site.processes[0].given() == [waiting[0].number]
    site.call()


def test_the_process_that_has_least_to_do_for_all_gets_the_next_call(pair: Site) -> None:
    first, second = pair.processes
    first.board.hold(OTHERS, 2)
    second.board.hold(OTHERS, 1)
    call = pair.call()
    assert second.given() == [call.number]
    assert second.board.load == 2  # and others see it
    pair.returns(second, call.number)
    assert second.board.load == 1


def test_those_that_have_as_much_to_do_take_turns(pair: Site) -> None:
    taken = []
    for _ in range(6):
        call = pair.call()
        (process,) = [process for process in pair.processes if process.given() == [call.number]]
        taken.append(process.number)
        pair.returns(process, call.number)
    assert taken in ([0, 1] * 3, [1, 0] * 3)


def test_a_call_stuck_behind_those_of_others_goes_to_a_process_that_has_become_free(pair: Site) -> None:
    first, second = pair.processes
    first.board.hold(OTHERS, 1)
    second.board.hold(OTHERS, 2)
    call = pair.call()  # behind the call of somebody else
    pair.loop.advance(SLOW_SECONDS)
    assert second.given() == []
    second.board.hold(OTHERS, 0)
    pair.loop.advance(SLOW_SECONDS)
    assert second.given() == [call.number]
    assert first.given() == []
    assert first.board.load == 1


def test_a_long_call_of_others_holds_up_no_call_as_long_as_another_process_goes_on(pair: Site) -> None:
    """The other one is never found idle, and has more to do whenever we look."""
    slow, quick = pair.processes
    slow.board.begin(pair.loop.now)
    slow.board.hold(OTHERS, 1)
    quick.board.hold(OTHERS, 8)
    call = pair.call()
    assert slow.handle.given == {call.number: call}
    quick.board.begin(pair.loop.now)
    pair.loop.advance(SLOW_SECONDS)
    assert quick.given() == [call.number]
    assert slow.given() == []
    late = pair.call()  # which does not go there again: it waits for its turn
    assert slow.given() == []
    pair.returns(quick, call.number)
    assert quick.given() == [late.number]
    pair.returns(quick, late.number)
    slow.board.begin(pair.loop.now)  # its long call is over, and another has begun
    last = pair.call()
    assert slow.given() == [last.number]


def test_a_call_that_waits_for_its_turn_goes_where_the_long_call_of_others_has_ended(pair: Site) -> None:
    slow, quick = pair.processes
    slow.board.hold(OTHERS, 1)
    quick.board.hold(OTHERS, 2)
    first = pair.call()
    quick.board.begin(pair.loop.now)
    pair.loop.advance(SLOW_SECONDS)
    assert quick.given() == [first.number]
    second = pair.call()
    assert slow.given() == []
    slow.board.hold(OTHERS, 0)
    pair.loop.advance(SLOW_SECONDS)
    assert slow.given() == [second.number]


def test_a_death_costs_the_call_that_has_begun_and_the_next_process_gets_the_others(site: Site) -> None:
    (process,) = site.processes
    site.calls.queue.average = 1e-9  # so quick that several are sent at once
    calls = [site.call() for _ in range(4)]
    process.begin(site.loop.now)
    site.die(process)
    with pytest.raises(Crashed, match=r"crashed its process \(pid 4000\): signal SIGKILL"):
        calls[0].outcome.result()
    again = site.join(7)
    assert again.given() == [call.number for call in calls[1:]]


def test_a_call_past_its_deadline_that_runs_as_long_ends_its_process(site: Site) -> None:
    (process,) = site.processes
    call = site.call()
    began = site.loop.now
    process.begin(began)
    site.loop.advance(TIMEOUT - 0.001)
    assert site.ended == []
    site.loop.advance(0.001)
    assert state(call) is State.TIMED_OUT
    assert isinstance(call.outcome.exception(), Timeout)
    assert site.ended == [(0, GRACE, began)]


def test_a_crowded_mailbox_costs_calls_and_no_process(site: Site) -> None:
    """The second call is past its deadline while it has been running for a moment: it goes on, unheard."""
    (process,) = site.processes
    first, second = site.call(), site.call()
    process.begin(site.loop.now)
    site.loop.advance(TIMEOUT - 1.0)
    site.returns(process, first.number)
    began = site.loop.now
    process.begin(began)
    site.loop.advance(1.0)
    assert state(second) is State.TIMED_OUT
    assert site.ended == []
    third = site.call()
    site.returns(process, second.number, "late")
    assert process.given() == [third.number]
    assert state(second) is State.TIMED_OUT
    site.loop.advance(TIMEOUT / 2)
    assert site.ended == []


def test_a_process_that_begins_no_call_is_ended_soon_after_a_deadline(site: Site) -> None:
    site.call()
    site.loop.advance(TIMEOUT)
    assert site.ended == []
    site.loop.advance(AGAIN_SECONDS)
    assert site.ended == [(0, GRACE, 0.0)]


@pytest.mark.parametrize("life", ["reads", "has begun a call of others"])
def test_a_process_that_was_between_two_calls_at_a_deadline_goes_on(site: Site, life: str) -> None:
    site.call()
    (process,) = site.processes
    site.loop.advance(TIMEOUT)
    if life == "reads":
        assert process.given() == []  # nor anything else
    else:
        process.board.begin(site.loop.now)
        process.board.end()
    site.loop.advance(AGAIN_SECONDS)
    assert site.ended == []


def test_a_death_without_a_call_is_told_by_who_minds_the_process(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.die(site.processes[0])
    assert caplog.text == ""


def test_what_waits_past_its_deadline_is_never_begun(site: Site) -> None:
    (process,) = site.processes
    site.calls.queue.average = 1e-9
    calls = [site.call() for _ in range(3)]
    process.begin(site.loop.now - 1.0)  # the first, and others were sent behind it
    site.loop.advance(TIMEOUT)
    assert [state(call) for call in calls] == [State.TIMED_OUT] * 3
    assert process.given() == []


def test_a_caller_that_goes_away_stops_nothing_before_its_call_has_run_for_its_time(site: Site) -> None:
    (process,) = site.processes
    call = site.call()
    began = site.loop.now
    process.begin(began)
    site.loop.advance(4.0)
    site.loop.call(call.cancel)
    assert state(call) is State.CANCELLED
    site.loop.advance(TIMEOUT - 4.1)
    assert site.ended == []
    site.loop.advance(0.1)
    assert site.ended == [(0, GRACE, began)]


def test_a_call_that_is_cancelled_before_it_has_begun_never_does(site: Site) -> None:
    call = site.call()
    site.loop.call(call.cancel)
    assert site.processes[0].given() == []


def test_a_stream_goes_on_where_it_has_begun(pair: Site) -> None:
    opened = pair.loop.call(pair.calls.open, "parts", "shop.Model.parts", (), {})
    assert opened.handle is not None
    process = pair.processes[opened.handle.number]
    assert process.read().value[0] == (OPEN, "parts")
    pair.returns(process, opened.number, Page([], (), ended=False))
    process.board.hold(OTHERS, 5)  # others are less busy, which does not help
    more = pair.loop.call(pair.calls.more, opened)
    message = process.read()
    assert (message.value[0], message.number) == ((MORE, opened.number), more.number)
    pair.loop.call(pair.calls.close_stream, opened)
    assert process.read_next().value[0] == (CLOSE, opened.number)  # type: ignore[union-attr]


def test_a_stream_ends_with_its_process(pair: Site) -> None:
    opened = pair.loop.call(pair.calls.open, "parts", "shop.Model.parts", (), {})
    assert opened.handle is not None
    process = pair.processes[opened.handle.number]
    process.take()
    pair.returns(process, opened.number, Page([], (), ended=False))
    more = pair.loop.call(pair.calls.more, opened)
    pair.die(process)
    with pytest.raises(Crashed):
        more.outcome.result()
    late = pair.loop.call(pair.calls.more, opened)
    with pytest.raises(Crashed, match="the process that has the stream is gone"):
        late.outcome.result()
    pair.loop.call(pair.calls.close_stream, opened)  # which is nobody's business any more


def test_an_answer_that_waits_is_heard_though_its_process_has_died(site: Site) -> None:
    call = site.call()
    (process,) = site.processes
    process.begin(site.loop.now)
    process.returns(call.number, "last words")
    site.calls.backend.gone(process.number, 9, False, "")  # before the loop has read the channel
    site.loop.run()
    assert call.outcome.result() == "last words"
