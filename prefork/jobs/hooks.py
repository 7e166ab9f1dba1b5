"""Hooks that an app hangs on the life of its offloaders."""

import inspect
from collections.abc import Callable
from typing import Any, Final, TypeVar

from prefork.jobs.references import name_of

H = TypeVar("H", bound=Callable[[], Any])

on_start: Final[list[Callable[[], Any]]] = []
on_stop: Final[list[Callable[[], Any]]] = []


def on_offload_start(hook: H) -> H:
    """Run `hook()`, a plain def, once in each offloader before its first job: open a model, connect a database.

    If it raises, the offloader cannot start. Raises TypeError for what is no such function.
    """
    on_start.append(_checked(hook))
    return hook


def on_offload_stop(hook: H) -> H:
    """Run `hook()` once in each offloader that ends in order; not in one that is killed. Raises TypeError."""
    on_stop.append(_checked(hook))
    return hook


def _checked(hook: H) -> H:
    wrong = not callable(hook) or inspect.iscoroutinefunction(hook) or inspect.isgeneratorfunction(hook)
    if not wrong:
        try:
            inspect.signature(hook).bind()
        except TypeError:
            wrong = True
        except ValueError:
            pass  # a builtin that does not tell its parameters
    if wrong:
        raise TypeError(f"an offload hook is a plain def without parameters, not {name_of(hook)}")
    return hook
