"""What may be a job's function: what an offloader finds by name; the rest is refused at the call, with a way out."""

import functools
import inspect
import math
import operator
import sys
from collections.abc import Callable
from typing import Any

import pytest

from prefork.errors import Unsendable
from prefork.jobs import payload, references
from prefork.jobs.references import check, name_of, runs_its_argument, subject
from tests.jobs import work


def reason(function: Any) -> str:
    with pytest.raises(Unsendable) as caught:
        check(function)
    return str(caught.value)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (work.double, "tests.jobs.work.double"),
        (work.count, "tests.jobs.work.count"),
        (work.decorated, "tests.jobs.work.decorated"),
        (work.cached, "tests.jobs.work.cached"),
        (work.add_one, "builtins.sum"),
        (functools.partial(functools.partial(work.double), 1), "tests.jobs.work.double"),
        (work.Machine, "tests.jobs.work.Machine"),
        (work.Machine(2), "tests.jobs.work.Machine"),
        (work.Machine(2).times, "tests.jobs.work.Machine.times"),
        (work.Machine.times, "tests.jobs.work.Machine.times"),
        (str.upper, "builtins.str.upper"),
        (dict.fromkeys, "builtins.dict.fromkeys"),
        (work.Machine.made, "tests.jobs.work.Machine.made"),
        (work.Machine.plain, "tests.jobs.work.Machine.plain"),
        (len, "builtins.len"),
        (math.sqrt, "math.sqrt"),
        (int, "builtins.int"),
        ("text".upper, "builtins.str.upper"),
        (operator.itemgetter(0), "operator.itemgetter"),
    ],
)
def test_what_can_be_found_by_name_is_accepted_and_can_be_sent(function: Callable[..., Any], name: str) -> None:
    assert check(function) == name
    back = payload.decode(payload.encode(function).pickle)
    assert name_of(back) == name


def test_a_function_of_numpy_is_accepted() -> None:
    numpy = pytest.importorskip("numpy")
    assert check(numpy.sin) == "numpy.sin"
    assert check(numpy.dot) == "numpy.dot"


def test_a_lambda_is_refused() -> None:
    advice = "an offloader finds functions by name: define it with def at the top level of a module"
    assert reason(work.nameless) == f"tests.jobs.work.<lambda> is a lambda; {advice}"
    assert "<lambda> is a lambda" in reason(lambda: None)


def test_a_function_within_a_function_is_refused() -> None:
    def inner() -> None: ...

    class Local: ...

    assert "inner is defined within a function; an offloader finds functions by name" in reason(inner)
    assert "Local is defined within a function" in reason(Local)


def test_a_coroutine_function_is_refused() -> None:
    for function in (
        work.coroutine_function,
        work.async_generator,
        functools.partial(work.coroutine_function),
        work.Machine(1).later,
        work.Machine(1).flow,
        work.AsyncMachine(),
    ):
        assert "is async def: an offloader has no event loop; write it as a plain def" in reason(function)


@pytest.mark.parametrize("thing", [1, "text", None, []], ids=repr)
def test_what_cannot_be_called_is_refused(thing: Any) -> None:
    assert subject(thing, ()) is thing
    assert reason(thing) == f"offload runs a function, not {type(thing).__qualname__}"


def test_a_function_whose_name_means_another_one_is_refused() -> None:
    assert reason(work.original).startswith(
        "tests.jobs.work.hidden is the name of something else than this function: a decorator or a later definition"
    )
    assert "name of something else" in reason(inspect.unwrap(work.decorated))


def test_a_function_that_is_not_in_its_module_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost() -> None: ...

    lost.__qualname__ = "lost"
    assert "lost is not in its module, or not yet" in reason(lost)
    lost.__module__ = "no.such.module"
    assert "no.such.module.lost is not in its module" in reason(lost)
    monkeypatch.setattr(sys.modules[__name__], "lost", lost, raising=False)
    lost.__module__ = __name__
    assert check(lost) == f"{__name__}.lost"


def test_a_function_that_was_typed_in_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = type(sys)("__main__")  # as in a notebook: no file
    exec("def double(number): return 2 * number", vars(typed))
    monkeypatch.setitem(sys.modules, "__main__", typed)
    assert "__main__.double was typed in here, and an offloader imports it from a file" in reason(typed.double)


def test_a_refusal_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler's decorator may run before its function has its name."""

    def late() -> None: ...

    late.__qualname__ = "late"
    assert "not in its module, or not yet" in reason(late)
    monkeypatch.setattr(sys.modules[__name__], "late", late, raising=False)
    assert check(late) == f"{__name__}.late"


def test_a_method_of_an_object_that_cannot_be_sent_is_found_out_with_the_call() -> None:
    method = work.Machine(2)
    method.factor = lambda: None  # type: ignore[assignment]
    assert check(method.times) == "tests.jobs.work.Machine.times"
    with pytest.raises(Unsendable, match=r"Machine\.times: the function, of type method, cannot be pickled"):
        payload.encode_call(method.times, check(method.times), (), {}, None)


def test_messages_name_the_apps_function_not_ours_that_runs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references, "_runners", set())
    assert subject(work.echo, (work.double, 1)) is work.echo
    assert runs_its_argument(work.echo) is work.echo
    assert subject(work.echo, (work.double, 1)) is work.double
    assert subject(work.double, (1,)) is work.double


def test_an_object_without_a_hash_can_be_a_function() -> None:
    scale = work.Scale(2)
    assert subject(scale, ()) is scale
    assert check(scale) == "tests.jobs.work.Scale"
