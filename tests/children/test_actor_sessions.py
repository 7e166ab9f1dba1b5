"""The actor's side of calls: what a session runs, step by step, and what it says of it."""

import os
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from prefork.children.actors.sessions import CLOSE, MORE, OPEN, PAGE_ITEMS, Page, Session
from prefork.errors import Crashed, Unsendable
from prefork.jobs import wire
from prefork.jobs.context import carry
from prefork.jobs.payload import BIG_BYTES, decode, encode_call
from prefork.jobs.runner import About, LetGo
from prefork.settings import Settings
from prefork.system import board
from prefork.system.board import Board
from prefork.system.channel import seqpacket_pair
from tests.jobs.ends import End, Message

tenant: ContextVar[str] = ContextVar("tests.actor_sessions.tenant", default="nobody")
carry(tenant)


class Model:
    def __init__(self) -> None:
        self.calls = 0
        self.kept: list[Any] = []
        self.ended = 0

    def add(self, number: int, *, times: int = 1) -> int:
        self.calls += number * times
        return self.calls

    def fail(self, error: type[BaseException], *args: Any) -> None:
        raise error(*args)

    def lock(self) -> Any:
        return threading.Lock()

    def keep(self, data: Any) -> int:
        self.kept.append(data)
        return bytes(data[:1])[0]

    def look(self, data: Any) -> int:
        return bytes(data[:1])[0]

    def whose(self) -> str:
        return tenant.get()

    def large(self, megabytes: int) -> bytes:
        return b"x" * (megabytes << 20)

    def count(self, upto: int) -> Iterator[int]:
        try:
            yield from range(upto)
        finally:
            self.ended += 1

    def tenants(self) -> Iterator[str]:
        while True:
            yield tenant.get()

    def break_off(self, error: BaseException) -> Iterator[int]:
        yield 1
        raise error

    def lengths(self, *lengths: int) -> Iterator[bytes]:
        for length in lengths:
            yield b"x" * length

    def refuse_to_end(self) -> Iterator[bytes]:
        try:
            yield b"x" * BIG_BYTES
            yield b""
        finally:
            raise LookupError("cannot end")


class Near(End):
    """The caller's end; behind the other a session, which steps when told to."""

    def __init__(self, model: Model, shared: Board, seat: int) -> None:
        ours, theirs = seqpacket_pair()
        super().__init__(ours)
        settings = Settings(offload_arena=8 << 20, offload_nice=0)
        self.session = Session(theirs, settings, model, shared, seat)
        self._number = 0

    def give(self, what: Any, *args: Any, about: About | None = None, **kwargs: Any) -> int:
        self._number += 1
        self.send(wire.JOB, encode_call(what, "test", args, kwargs, about), self._number)
        return self._number

    def ask(self, what: Any, *args: Any, about: About | None = None, **kwargs: Any) -> Message:
        number = self.give(what, *args, about=about, **kwargs)
        self.session.step()
        message = self.read()
        assert message.number == number
        return message

    def clogged(self) -> bool:
        return self.session.clogged

    def page(self, what: tuple[int, Any], *args: Any, **options: Any) -> tuple[list[Any], Page]:
        """The items of a page, and the page."""
        page: Page = self.ask(what, *args, **options).value
        return [*map(decode, page.pickles), *page.last], page


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def shared() -> Iterator[Board]:
    descriptor = board.create()
    made = Board(descriptor)
    os.close(descriptor)
    yield made
    made.close()


@pytest.fixture
def near(model: Model, shared: Board) -> Iterator[Near]:
    made = Near(model, shared, 3)
    yield made
    if made.session.channel.fileno() >= 0:
        made.session.close()
    made.close()


def test_calls_of_all_sessions_go_to_one_object(near: Near, model: Model, shared: Board) -> None:
    other = Near(model, shared, 4)
    assert [near.ask("add", 1).value, other.ask("add", 2, times=5).value, near.ask("add", 1).value] == [1, 11, 12]
    other.session.close()
    other.close()


def test_a_step_runs_one_call_and_one_without_a_call_does_nothing(near: Near) -> None:
    near.session.step()
    first, second = near.give("add", 1), near.give("add", 1)
    near.session.step()
    assert near.read().number == first
    assert near.read_now() is None
    near.session.step()
    assert near.read().number == second


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration])
def test_whatever_a_method_raises_is_told_and_the_actor_goes_on(near: Near, error: type[BaseException]) -> None:
    told = near.ask("fail", error, "on purpose")
    assert type(told.error) is ValueError or error.__name__ in str(told.error)
    assert "in fail" in str(told.error.__cause__)
    assert near.ask("add", 1).value == 1


def test_an_actor_does_not_leave_with_a_crash_that_it_tells_of(near: Near) -> None:
    told = near.ask("fail", Crashed, "of another")
    assert not told.flags & wire.LEAVING
    assert near.ask("add", 1).value == 1


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (("lock",), r"^tests\.children\.test_actor_sessions\.Model\.lock returned _thread\.lock, which cannot be"),
        (("large", 9), r"the result of tests\.children\.test_actor_sessions\.Model\.large: .* offload_arena"),
    ],
)
def test_a_result_that_cannot_travel_is_an_error(near: Near, what: tuple[Any, ...], words: str) -> None:
    with pytest.raises(Unsendable, match=words):
        raise near.ask(*what).error
    assert near.ask("add", 1).value == 1


def test_arguments_in_shared_memory_are_given_up_when_the_object_keeps_them(near: Near, model: Model) -> None:
    data = [memoryview(bytearray([number]) * BIG_BYTES) for number in range(3)]
    assert not near.ask("look", data[1]).flags & wire.KEPT
    assert near.ask("keep", data[1]).flags & wire.KEPT
    assert near.ask("look", data[2]).value == 2
    assert model.kept[0][0] == 1


def test_a_call_sees_the_context_variables_that_it_carries(near: Near) -> None:
    about = About("request-1", {tenant.name: "acme"}, 0, 0.0, 0)
    assert near.ask("whose", about=about).value == "acme"
    assert near.ask("whose").value == "nobody"
    _, page = near.page((OPEN, "tenants"), about=about)
    items, _ = near.page((MORE, 3), about=About("request-2", {}, 0, 0.0, 0))
    assert set(items) == {"acme"}  # a stream keeps those it was opened with
    assert not page.ended


def test_the_board_tells_when_a_call_began_as_long_as_it_runs(near: Near, model: Model, shared: Board) -> None:
    seen: list[float] = []
    model.look = lambda data: seen.append(shared.began)  # type: ignore[assignment, return-value]
    near.ask("look", b"")
    assert seen[0] > 0
    assert shared.began == 0.0


# -- streams


@pytest.mark.parametrize("count", [0, 1, PAGE_ITEMS - 1, PAGE_ITEMS, PAGE_ITEMS + 1, 3 * PAGE_ITEMS])
def test_a_stream_comes_in_pages_that_are_bounded(near: Near, model: Model, count: int) -> None:
    items, page = near.page((OPEN, "count"), count)
    while not page.ended:
        assert 1 <= len(page.pickles) <= PAGE_ITEMS
        more, page = near.page((MORE, 1))
        items += more
    assert items == list(range(count))
    assert model.ended == 1


def test_a_large_item_ends_its_page(near: Near) -> None:
    items, page = near.page((OPEN, "lengths"), 1, BIG_BYTES, 2)
    assert [len(item) for item in items] == [1, BIG_BYTES]
    assert not page.ended
    items, page = near.page((MORE, 1))
    assert [len(item) for item in items] == [2]
    assert page.ended


def test_what_comes_before_an_error_is_not_lost(near: Near) -> None:
    items, page = near.page((OPEN, "break_off"), LookupError("no more"))
    assert items == [1]
    assert page.ended
    assert page.failure is not None
    assert page.failure.words == "LookupError: no more"


def test_a_stream_of_what_is_no_generator_says_so(near: Near) -> None:
    with pytest.raises(TypeError, match=r"Model\.add returned int; a stream needs a generator"):
        raise near.ask((OPEN, "add"), 1).error


def test_a_stream_that_is_closed_early_ends_and_a_late_close_does_no_harm(near: Near, model: Model) -> None:
    near.page((OPEN, "count"), 1000)
    assert near.ask((CLOSE, 1)).kind == wire.RESULT
    assert model.ended == 1
    assert near.ask((CLOSE, 1)).kind == wire.RESULT
    assert model.ended == 1


def test_calls_run_between_the_pages_of_streams(near: Near) -> None:
    first, _ = near.page((OPEN, "count"), 1000)
    near.page((OPEN, "count"), 1000)
    assert near.ask("add", 1).value == 1
    items, _ = near.page((MORE, 1))
    assert items[0] == len(first)  # where it was


def test_a_session_that_ends_ends_its_streams_whatever_they_do(near: Near, model: Model, shared: Board) -> None:
    near.page((OPEN, "count"), 1000)
    near.page((OPEN, "lengths"), BIG_BYTES, 1)
    near.page((OPEN, "count"), 1000)
    shared.hold(3, 5)
    near.channel.close()
    with pytest.raises(LetGo):
        near.session.step()
    near.session.close()
    assert model.ended == 2
    assert shared.load == 0  # its seat is free


def test_a_stream_that_fails_to_end_does_not_keep_others_from_it(
    near: Near, model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    near.page((OPEN, "refuse_to_end"))
    near.page((OPEN, "lengths"), BIG_BYTES, 1)
    near.page((OPEN, "count"), 1000)
    near.session.close()
    assert model.ended == 1
    assert "a stream of Model did not end in order" in caplog.text
    assert "LookupError: cannot end" in caplog.text


# -- answers that nobody reads


def test_answers_that_are_not_read_hold_up_their_session_and_come_in_order(near: Near) -> None:
    given = 0
    while not near.clogged():
        given += 1
        near.give("large", 0)
        near.session.step()
    near.session.flush()
    assert near.clogged()
    for number in range(1, given):
        assert near.read().number == number
    near.session.flush()
    assert not near.clogged()
    assert near.read().number == given
