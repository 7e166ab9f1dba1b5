"""Find how the workers of a server will name an app that this program holds as an object."""

import os
import sys
import sysconfig
from collections.abc import Iterator
from importlib.util import find_spec
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
        return Named(app, _folder_of(app))
    if not callable(app):
        raise UsageError(f"this is no app, but of type {type(app).__qualname__}: {app!r:.60}")
    holders = _holders(app)
    found = next(holders, None)
    if found is None:
        raise UsageError(f"no module holds this app ({type(app).__qualname__}) under a name of its own; {_ADVICE}")
    module, name = found
    dotted = module.__name__ if module.__name__ != "__main__" else _main_name(module, next(holders, None))
    return Named(f"{dotted}:{name}", _folder(getattr(module, "__file__", None), dotted, hasattr(module, "__path__")))


def _holders(app: object) -> Iterator[tuple[ModuleType, str]]:
    main = sys.modules["__main__"]
    own = sys.modules.get(str(getattr(app, "__module__", None)))  # of a function: where it is defined
    for module in (main, *(other for other in (own, *list(sys.modules.values())) if other is not main)):
        if isinstance(module, ModuleType):
            held = [key for key, value in list(vars(module).items()) if value is app and key.isidentifier()]
            if held:
                yield module, min(held, key=lambda key: key.startswith("_"))


def _main_name(main: ModuleType, elsewhere: tuple[ModuleType, str] | None) -> str:
    """The name by which the main module can be imported. `elsewhere`: who holds the app, too.

    That one is only named in the error: what the main module has done to the app would be missing there.
    """
    advice = _ADVICE if elsewhere is None else f'pass its name, "{elsewhere[0].__name__}:{elsewhere[1]}"'
    path: str | None = getattr(main, "__file__", None)
    if path is None:
        raise UsageError(f"no file holds this program; {advice}")
    spec = getattr(main, "__spec__", None)  # a debugger's main module has none
    stem, ending = os.path.splitext(os.path.basename(path))
    dotted: str = stem if spec is None else spec.name
    importable = spec is not None or (ending == ".py" and "." not in stem)
    if not importable or dotted == "__main__" or not all(part.isidentifier() for part in dotted.split(".")):
        raise UsageError(f"{path} cannot be imported by that name; rename it, or {advice}")
    return dotted


def _folder_of(target: str) -> str | None:
    """Where this program would import a target's module from; it does not."""
    top = target.partition(":")[0].partition(".")[0]
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):  # the main module's own name, or none at all
        return None
    if spec is None:
        return None
    locations = spec.submodule_search_locations
    return _folder(next(iter(locations), None) if locations else spec.origin, top, False)


def _folder(path: str | None, dotted: str, is_package: bool) -> str | None:
    """The folder that holds the module of a path, or the package it is in; None for what is installed."""
    if path is None:
        return None
    folder = os.path.dirname(os.path.abspath(path))
    for _ in range(dotted.count(".") + is_package):
        folder = os.path.dirname(folder)
    return None if folder in map(sysconfig.get_path, ("purelib", "platlib", "stdlib", "platstdlib")) else folder
