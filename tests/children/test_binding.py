"""Whose child one is: requests are tracked before the first one, if the app has the package."""

import sys
from types import ModuleType

import pytest

import prefork.children
from prefork.children.binding import track_if_used
from prefork.jobs import context


@pytest.mark.parametrize("used", [True, False])
def test_requests_are_tracked_from_the_first_one_if_the_app_has_children(
    monkeypatch: pytest.MonkeyPatch, used: bool
) -> None:
    """The first child may be asked for in a task that the first request has started, which is not told of it then."""
    app = ModuleType("app")
    if used:
        app.__dict__["programs"] = prefork.children
    owners = [name for name, module in list(sys.modules.items()) if prefork.children in _modules(module)]
    with monkeypatch.context() as patch:
        for name in owners:  # these tests have it
            if name != "prefork":
                patch.delitem(sys.modules, name)
        patch.setitem(sys.modules, "app", app)
        patch.setattr(context, "tracking", False)
        track_if_used()
        assert context.tracking is used


def _modules(module: ModuleType) -> list[ModuleType]:
    return [value for value in list(vars(module).values()) if isinstance(value, ModuleType)]
