"""Exceptions that cross to another process: of their type where that can be, with their words always."""

import asyncio
import concurrent.futures
import copyreg
import json
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from prefork import HTTPError
from prefork.errors import Crashed, OffloadError, QueueFull, RequestError, Timeout
from prefork.jobs.failures import Failure, Recipe, RemoteTraceback, restore, take
from tests.jobs import work


def cross(error: BaseException) -> BaseException:
    """The error as the caller has it, who got it as bytes."""
    failure: Failure = pickle.loads(pickle.dumps(take(raised(error)), 5))
    return restore(failure)


def raised(error: BaseException) -> BaseException:
    try:
        work.fail(error)
    except BaseException as caught:
        return caught
    raise AssertionError


def noted(error: Exception, *notes: str) -> Exception:
    for note in notes:
        error.add_note(note)
    return error


def with_attribute(error: Exception, name: str, value: Any) -> Exception:
    setattr(error, name, value)
    return error


SURVIVING: list[Callable[[], Exception]] = [
    lambda: ValueError("bad"),
    lambda: ValueError(),
    lambda: ValueError("\ud800 is no text"),
    lambda: KeyError("key", 1),
    lambda: work.Plain("text", 2),
    lambda: work.Required(7, reason="none"),
    lambda: OSError(2, "No such file", "/x"),
    lambda: FileNotFoundError(2, "No such file", "/x", None, "/y"),
    lambda: OSError("just text"),
    lambda: work.MissingFile(2, "gone"),
    lambda: work.Slotted(3, "text"),
    lambda: work.BadSyntax(7),
    lambda: work.BadText(b"\xff"),
    lambda: work.BadName("missing"),
    lambda: work.Stubborn("will not be pickled as it wants to be"),
    lambda: work.Trick("neither"),
    lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
    lambda: UnicodeEncodeError("ascii", "\xff", 0, 1, "bad"),
    lambda: SyntaxError("bad", ("file.py", 3, 1, "text")),
    lambda: ImportError("no module", name="x", path="/x"),
    lambda: MemoryError(),
    lambda: RecursionError("too deep"),
    lambda: AssertionError(),
    lambda: NotImplementedError(),
    lambda: TimeoutError("late"),
    lambda: concurrent.futures.CancelledError("x"),
    lambda: json.JSONDecodeError("bad", "document", 3),
    lambda: subprocess.CalledProcessError(3, ["ls"], b"out", b"err"),
    lambda: HTTPError(404, "not here", {"x": "y"}),
    lambda: RequestError(413, "too large"),
    lambda: QueueFull("full", 7),
    lambda: Timeout("late"),
    lambda: Crashed("died", cause="memory", signal=9, stack="stack"),
    lambda: OffloadError("wrong"),
    lambda: with_attribute(ValueError("bad"), "extra", [1, 2]),
    lambda: with_attribute(work.Required(1, reason="x"), "extra", b"x" * 100_000),
]


# What is not in `vars`: in slots, or held by a class that is written in C.
FIELDS = (
    "errno",
    "filename",
    "filename2",
    "object",
    "start",
    "reason",
    "lineno",
    "msg",
    "doc",
    "returncode",
    "code",
    "name",
)


@pytest.mark.parametrize("make", SURVIVING, ids=lambda make: repr(make())[:40])
def test_an_exception_arrives_with_type_arguments_attributes_and_text(make: Callable[[], Exception]) -> None:
    error, back = make(), cross(make())
    assert type(back) is type(error)
    assert back.args == error.args
    assert vars(back) == vars(error)
    assert str(back) == str(error)
    for name in FIELDS:
        assert getattr(back, name, None) == getattr(error, name, None)


def test_the_constructor_is_not_called_again() -> None:
    """It may ask for what is not in `args`, and do what shall be done once."""
    back = cross(work.Required(7, reason="none"))
    assert isinstance(back, work.Required)
    assert (back.code, back.reason, str(back)) == (7, "none", "7: none")


def test_notes_arrive() -> None:
    assert cross(noted(ValueError("bad"), "one", "two")).__notes__ == ["one", "two"]
    assert cross(noted(work.Required(1, reason="x"), "one")).__notes__ == ["one"]


def test_a_group_arrives_with_what_is_in_it() -> None:
    back = cross(ExceptionGroup("many", [ValueError(1), ExceptionGroup("more", [OSError(2, "x")])]))
    assert isinstance(back, ExceptionGroup)
    one, more = back.exceptions
    assert repr(one) == "ValueError(1)"
    assert repr(more) == "ExceptionGroup('more', [FileNotFoundError(2, 'x')])"


def test_a_group_of_a_class_of_the_app_arrives() -> None:
    back = cross(work.Many("many", [ValueError(1)]))
    assert isinstance(back, work.Many)
    assert back.extra == "x"
    assert str(back) == "many (1 sub-exception)"
    assert repr(back.exceptions) == "(ValueError(1),)"


# What would end or mislead the one who awaits the job: asyncio lets through, or takes for an end, what a job raised.
@pytest.mark.parametrize(
    "error",
    [
        SystemExit(3),
        KeyboardInterrupt(),
        GeneratorExit(),
        asyncio.CancelledError("x"),
        StopIteration(1),
        StopAsyncIteration(1),
        work.Stop(2),
        BaseExceptionGroup("many", [SystemExit(1)]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_no_plain_exception_arrives_as_an_offload_error_with_its_words(error: BaseException) -> None:
    back = cross(error)
    assert type(back) is OffloadError
    assert str(back) == f"{type(error).__qualname__}: {error}"


def test_an_exception_of_a_local_class_arrives_with_its_words() -> None:
    class Local(Exception): ...

    back = cross(Local("what happened"))
    assert type(back) is OffloadError
    assert str(back).endswith("Local: what happened")


@pytest.mark.parametrize(
    "error",
    [
        work.Holding("what happened"),
        with_attribute(ValueError("what happened"), "lock", lambda: None),
        with_attribute(work.Required(1, reason="what happened"), "bad", work.Unmakeable()),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_that_cannot_be_sent_arrives_with_its_words(error: Exception) -> None:
    back = cross(error)
    assert type(back) is OffloadError
    assert str(back) == f"{type(error).__qualname__}: {error}"


def test_an_exception_with_an_argument_that_cannot_be_sent_arrives_with_its_words() -> None:
    back = cross(ValueError(work.nameless))
    assert type(back) is OffloadError
    assert str(back).startswith("ValueError: <function ")


@pytest.mark.parametrize(
    "more", [{}, {"__init__": lambda self, text, code: Exception.__init__(self, text)}], ids=["plain", "own init"]
)
def test_an_exception_whose_class_is_not_there_arrives_with_its_words(
    monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]
) -> None:
    kind = type("Odd", (Exception,), {"__module__": "only_there", **more})
    module = ModuleType("only_there")
    module.Odd = kind  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "only_there", module)
    sent = pickle.dumps(take(raised(kind("what happened", 2) if more else kind("what happened"))))
    monkeypatch.delitem(sys.modules, "only_there")
    back = restore(pickle.loads(sent))
    assert type(back) is OffloadError
    assert str(back) == "Odd: what happened"


@pytest.mark.parametrize(
    "error",
    [ValueError("bad"), work.Required(1, reason="x"), work.Holding("x"), SystemExit(3)],
    ids=lambda error: type(error).__name__,
)
def test_the_traceback_there_is_the_cause_here(error: BaseException) -> None:
    back = cross(error)
    assert isinstance(back.__cause__, RemoteTraceback)
    shown = "".join(traceback.format_exception(back))
    assert shown.index('File "') < shown.index("in fail\n    raise error") < shown.index("The above exception was the")
    assert f"{type(error).__qualname__}" in back.__cause__.text
    assert str(back.__cause__).endswith(back.__cause__.text.rstrip() + "\n")


def test_the_traceback_tells_what_led_to_the_exception_there() -> None:
    def chain() -> None:
        try:
            raise LookupError("first")
        except LookupError as first:
            raise ValueError("second") from first

    with pytest.raises(ValueError, match="second") as caught:
        chain()
    cause = restore(take(caught.value)).__cause__
    assert "LookupError: first" in str(cause)
    assert "direct cause" in str(cause)


def test_a_text_that_is_not_unicode_does_not_stop_the_traceback() -> None:
    cause = cross(ValueError("\ud800")).__cause__
    assert "\\ud800" in str(cause)
    str(cause).encode()


def test_a_traceback_can_be_sent_on() -> None:
    """To a second process, or a log in another."""
    back = pickle.loads(pickle.dumps(RemoteTraceback("text")))
    assert back.text == "text"


@pytest.mark.parametrize(
    "whole",
    [
        b"no pickle",
        pickle.dumps(Recipe(ExceptionGroup, (), {})),
        pickle.dumps(Recipe(work.Required, (), {"code": 1, "args": 2})),
        pickle.dumps(work.Unmakeable()),
        pickle.dumps("no exception"),
    ],
    ids=[
        "no pickle",
        "a recipe without its arguments",
        "a recipe with what cannot be set",
        "a class that raises",
        "no exception",
    ],
)
def test_what_cannot_be_made_anew_is_an_offload_error_with_the_words(whole: bytes) -> None:
    back = restore(Failure(whole, "words", "text"))
    assert type(back) is OffloadError
    assert str(back) == "words"
    assert isinstance(back.__cause__, RemoteTraceback)


def lose(error: BaseException) -> tuple[Any, ...]:
    return Exception, ("lost",)


def test_how_another_library_has_taught_pickle_exceptions_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """As tblib does for `distributed`, and then they arrive without their text."""
    for kind in (UnicodeDecodeError, ValueError, work.Required):
        monkeypatch.setitem(copyreg.dispatch_table, kind, lose)
    for error in (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), ValueError("bad"), work.Required(1, reason="x")):
        back = cross(error)
        assert type(back) is type(error)
        assert str(back) == str(error)
