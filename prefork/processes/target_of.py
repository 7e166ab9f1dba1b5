"""Find how the workers of a server will name an app that this program holds as an object."""

import os
import sys
import sysconfig
from collections.abc import Iterator
from types import ModuleType
from typing import NamedTuple

from prefork.errors import UsageError

_ADVICE = (
    "workers import it by name: assign it to a name at the top level of a module, or pass that name, such as "
    '"main:app", or "main:make_app()" for a function that makes it'
)


class Named(NamedTuple):
    """A target, and the folder its module is imported from, if that has to be said."""

    target: str
    app_dir: str | None


def target_of(app: object) -> Named:
    """The target of an app: itself if it is a text, else `module:name` of the global that holds this very object.

    The main module is looked at first. A program that was started as `python main.py` is called `main` there: workers
    import it once more under that name. Raises UsageError when no global holds the app, or its module has no name.
    """
    if isinstance(app, str):
        return Named(app, None)
    found = next(_holders(app), None)
    if found is None:
        raise UsageError(f"no module holds this app ({type(app).__qualname__}) under a name of its own; {_ADVICE}")
    module, name = found
    dotted = module.__name__ if module.__name__ != "__main__" else _main_name(module)
    return Named(f"{dotted}:{name}", _folder(module, dotted))


def _holders(app: object) -> Iterator[tuple[ModuleType, str]]:
    main = sys.modules["__main__"]
    own = sys.modules.get(str(getattr(app, "__module__", None)))  # of a function: where it is defined
    for module in (main, own, *list(sys.modules.values())):
        if isinstance(module, ModuleType):
            held = [key for key, value in list(vars(module).items()) if value is app and key.isidentifier()]
            if held:
                yield module, min(held, key=lambda key: key.startswith("_"))


def _main_name(module: ModuleType) -> str:
    """The name by which the main module can be imported."""
    path: str | None = getattr(module, "__file__", None)
    if path is None:
        raise UsageError(f"the app was typed in here, and no file holds it; {_ADVICE}")
    spec = module.__spec__
    dotted = os.path.basename(path).removesuffix(".py") if spec is None else spec.name
    if dotted == "__main__" or not all(part.isidentifier() for part in dotted.split(".")):
        raise UsageError(f"{path} cannot be imported by that name; rename it, or move the app into another file")
    return dotted


def _folder(module: ModuleType, dotted: str) -> str | None:
    """The folder that holds the module, or the package it is in; None for what is installed."""
    path: str | None = getattr(module, "__file__", None)
    if path is None:
        return None
    folder = os.path.dirname(os.path.abspath(path))
    for _ in range(dotted.count(".") + hasattr(module, "__path__")):
        folder = os.path.dirname(folder)
    return None if folder in map(sysconfig.get_path, ("purelib", "platlib", "stdlib", "platstdlib")) else folder
