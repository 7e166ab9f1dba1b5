"""What a forked child is to call, by name: `module:function`."""

import inspect
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from prefork.errors import ChildNotStarted
from prefork.jobs.references import check_named

Target = str | Callable[..., Any]


def name_of_target(target: Target) -> str:
    """`module:function`. Raises Unsendable for a function that is not found by its name, ChildNotStarted for a name
    that is not of that form."""
    if not isinstance(target, str):
        check_named(target, "a child")
        return f"{target.__module__}:{target.__qualname__}"
    module, colon, function = target.partition(":")
    if not (module and colon and function):
        raise ChildNotStarted(f"{target!r} names no function: write 'module:function'")
    return target


def modules_of(name: str) -> list[str]:
    """What is worth importing before a child is forked for a target: its module, if that could be imported here."""
    module = name.partition(":")[0]
    return [module] if module in sys.modules and module != "__main__" else []


def resolve(name: str) -> Callable[..., Any]:
    """The function, whose module is imported if it is not yet. Raises ChildNotStarted that names what is missing, or
    what the import raises."""
    module_name, _, path = name.partition(":")
    try:
        found: Any = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name + ".").startswith(error.name + "."):
            raise ChildNotStarted(f"{name}: there is no module {error.name}") from None
        raise
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise ChildNotStarted(f"{name}: {module_name} has no {path}") from None
    if not callable(found):
        raise ChildNotStarted(f"{name}: that is no function, but of type {type(found).__qualname__}")
    if inspect.isgeneratorfunction(found) or inspect.isasyncgenfunction(found):
        raise ChildNotStarted(f"{name} is a generator: a child sends by `parent.send`; it has no one to yield to")
    return found  # type: ignore[no-any-return]
