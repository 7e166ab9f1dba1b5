"""Whose child one is: requests are tracked before the first one, if the app has the package."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import prefork.children
from prefork.children.binding import track_if_used
from prefork.jobs import context


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """The modules of a process that has imported nothing else, and in which nobody has asked for a job or child."""
    with monkeypatch.context() as patch:  # for a test's own calls: pytest needs the real ones
        found = {"prefork": prefork, "prefork.children": prefork.children, "app": ModuleType("app")}
        patch.setattr(context, "tracking", False)
        patch.setattr(sys, "modules", found)
        yield found


@pytest.mark.parametrize("used", [True, False])
def test_requests_are_tracked_from_the_first_one_if_the_app_has_children(
    modules: dict[str, ModuleType], used: bool
) -> None:
    """The first child may be asked for in a task that the first request has started, which is not told of it then."""
    if used:
        modules["app"].__dict__["programs"] = prefork.children
    track_if_used()
    assert context.tracking is used


def test_modules_that_load_themselves_when_looked_at_are_not_woken(
    modules: dict[str, ModuleType], tmp_path: Path
) -> None:
    """Such as those of importlib.util.LazyLoader: one that nobody needs may not even be able to load."""
    (tmp_path / "sleeping.py").write_text("raise RuntimeError('woken')")
    spec = importlib.util.spec_from_file_location("sleeping", tmp_path / "sleeping.py")
    assert spec is not None
    assert spec.loader is not None
    spec.loader = importlib.util.LazyLoader(spec.loader)
    modules["sleeping"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(modules["sleeping"])
    track_if_used()
    assert not context.tracking
