"""Functions travel by name, not by value: check that the other process will find the one that is meant."""

import inspect
import os
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, TypeVar

from prefork.errors import Unsendable

_runners: set[Callable[..., Any]] = set()

_NO_LOOP = "an offloader has no event loop; write it as a plain def"
_OFFLOADER = "an offloader"
_ADVICE = "{who} finds functions by name: define it with def at the top level of a module"


R = TypeVar("R", bound=Callable[..., Any])


def runs_its_argument(function: R) -> R:
    """Mark a function of ours that runs the app's function, its first argument: messages name that one."""
    _runners.add(function)
    return function


def subject(function: Callable[..., Any], args: Sequence[Any]) -> Callable[..., Any]:
    """The app's function in a call."""
    return args[0] if type(function) is FunctionType and function in _runners else function


def check(function: Callable[..., Any]) -> str:
    """The function's name for messages. Raises Unsendable when it cannot be found by it, or is no plain function."""
    if isinstance(function, FunctionType):
        return _check_plain(function)
    if not callable(function):
        raise Unsendable(f"offload runs a function, not {type(function).__qualname__}")
    name = name_of(function)
    if any(map(_is_async, (function, type(function).__call__))):
        raise Unsendable(f"{name} is async def: {_NO_LOOP}")
    if isinstance(function, type) or (
        isinstance(function, BuiltinFunctionType) and isinstance(function.__self__, ModuleType)
    ):
        _check_by_name(function, name)
    return name  # methods, partials and callable objects are pickled with what they hold


@lru_cache(maxsize=1024)
def _check_plain(function: FunctionType) -> str:
    name = name_of(function)
    if _is_async(function):
        raise Unsendable(f"{name} is async def: {_NO_LOOP}")
    _check_by_name(function, name)
    return name


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def check_named(function: Callable[..., Any], who: str) -> None:
    """Raises Unsendable when a function, async or not, or a class cannot be found by its name by `who`, another
    process: `a child`."""
    if not isinstance(function, FunctionType | type):
        raise Unsendable(f"{name_of(function)} is no function or class; {_ADVICE.format(who=who)}")
    _check_by_name(function, name_of(function), who)


def _check_by_name(function: Any, name: str, who: str = _OFFLOADER) -> None:
    advice = _ADVICE.format(who=who)
    if function.__name__ == "<lambda>":
        raise Unsendable(f"{name} is a lambda; {advice}")
    if "<locals>" in function.__qualname__:
        raise Unsendable(f"{name} is defined within a function; {advice}")
    found: Any = sys.modules.get(function.__module__)
    try:
        for part in function.__qualname__.split("."):
            found = getattr(found, part)
    except AttributeError:
        raise Unsendable(f"{name} is not in its module, or not yet; {advice}") from None
    if function.__module__ == "__main__" and not os.path.exists(getattr(sys.modules["__main__"], "__file__", "")):
        raise Unsendable(f"{name} was typed in here, and {who} imports it from a file: put it into a module")
    if found is not function:
        raise Unsendable(
            f"{name} is the name of something else than this function: a decorator or a later definition has taken it; "
            "offload what has the name, or give the plain function one of its own"
        )


def name_of(function: object) -> str:
    """`module.qualified_name` of a function, or of what is behind a partial or a callable object."""
    if isinstance(function, partial):
        return name_of(function.func)
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{getattr(named, '__module__', None) or 'builtins'}.{named.__qualname__}"
