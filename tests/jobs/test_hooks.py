"""Hooks on the life of offloaders: what may be one, and in which order they are kept."""

from functools import partial
from typing import Any

import pytest

import prefork
from prefork.jobs import hooks
from prefork.jobs.hooks import on_offload_start, on_offload_stop
from prefork.web import App
from tests.jobs import work


@pytest.fixture(autouse=True)
def no_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "on_start", [])
    monkeypatch.setattr(hooks, "on_stop", [])


def test_hooks_are_kept_in_order_and_returned_as_they_are() -> None:
    first, second = partial(work.echo, 1), partial(work.echo, 2)
    assert on_offload_start(first) is first
    assert on_offload_start(second) is second
    assert on_offload_stop(second) is second
    assert hooks.on_start == [first, second]
    assert hooks.on_stop == [second]


def test_an_app_offers_the_same_hooks() -> None:
    app = App()
    assert app.on_offload_start(work.nothing) is work.nothing
    assert app.on_offload_stop(work.nothing) is work.nothing
    assert hooks.on_start == hooks.on_stop == [work.nothing]


def test_hooks_are_public_names() -> None:
    assert prefork.on_offload_start is on_offload_start
    assert prefork.on_offload_stop is on_offload_stop


@pytest.mark.parametrize(
    ("thing", "name"),
    [
        (work.coroutine_function, "tests.jobs.work.coroutine_function"),
        (partial(work.coroutine_function), "tests.jobs.work.coroutine_function"),
        (work.Machine(1).later, "tests.jobs.work.Machine.later"),
        (work.count_once, "tests.jobs.work.count_once"),
        (work.double, "tests.jobs.work.double"),
        (partial(work.Required, 1), "tests.jobs.work.Required"),
        ("text", "builtins.str"),
    ],
)
@pytest.mark.parametrize("declare", [on_offload_start, on_offload_stop])
def test_what_is_no_plain_def_is_refused_by_name_and_not_kept(declare: Any, thing: Any, name: str) -> None:
    with pytest.raises(TypeError, match=f"^an offload hook is a plain def without parameters, not {name}$"):
        declare(thing)
    assert not hooks.on_start
    assert not hooks.on_stop
