"""Load a target: from `module:name` to an Application, or one clear line about what is wrong with it."""

import importlib
import inspect
import os
import pkgutil
import re
import sys
from difflib import get_close_matches
from types import ModuleType

from prefork.apps.application import Application
from prefork.apps.interface import as_application, takes
from prefork.apps.static import with_static
from prefork.errors import UsageError
from prefork.settings import Settings

_NAMES = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_TARGET = re.compile(rf"({_NAMES}):({_NAMES})(\(\))?")


def load(target: str, settings: Settings) -> Application:
    """Import `module:name` or `module:factory()` with `settings.app_dir` first on the path.

    Raises UsageError when the target is malformed, does not exist or is no app. What the app's own code raises while it
    is imported, or its factory, passes unchanged.
    """
    match = _TARGET.fullmatch(target)
    if match is None or match[1].endswith(".py"):
        raise UsageError(f"target {target!r}: {_advice(target)}")
    module_name, attribute, is_factory = match.groups()
    module = _import(target, module_name, os.path.abspath(settings.app_dir))
    found = _attribute(target, module, attribute)
    if is_factory:
        found = _call_factory(target, found)
    what = "what the factory returned is" if is_factory else "it is"
    if inspect.isclass(found):
        name = target.removesuffix("()")
        raise UsageError(f"target {target!r}: {what} a class; write {name}() to make an instance")
    try:
        return with_static(as_application(found, settings), settings)
    except TypeError as error:
        hint = f"; if it is a factory, write {target}()" if not is_factory and _is_factory(found) else ""
        raise UsageError(f"target {target!r}: {str(error).replace('it is', what, 1)}{hint}") from None


def _advice(target: str) -> str:
    module, colon, name = target.partition(":")
    example = "write module:name, for example hello:app"
    if not colon:
        dotted = module.removesuffix(".py").replace("/", ".").strip(".")
        return f"no name after the module; {example if not dotted else f'write {dotted}:name'}"
    if module.endswith(".py") or "/" in module:
        return f"the part before the colon is a module, not a file; write {module_of(module)}:{name}"
    return example + ", or module:factory()"


def module_of(path: str) -> str:
    """The module a file's path most likely means: `examples/hello.py` is `examples.hello`."""
    return path.removesuffix(".py").strip("./").replace("/", ".")


def _import(target: str, name: str, app_dir: str) -> ModuleType:
    if app_dir in sys.path:
        sys.path.remove(app_dir)
    sys.path.insert(0, app_dir)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing != name and not name.startswith(missing + "."):
            raise  # the app's own import of something else
        known = [module.name for module in pkgutil.iter_modules([app_dir])]
        raise UsageError(
            f"target {target!r}: there is no module {missing!r} in {app_dir}{_similar(missing, known)}"
        ) from None


def _attribute(target: str, module: ModuleType, path: str) -> object:
    found: object = module
    where = f"module {module.__name__!r}"
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            known = [known for known in dir(found) if not known.startswith("_")]
            raise UsageError(f"target {target!r}: {where} has no {name!r}{_similar(name, known)}") from None
        where = f"{name!r}"
    return found


def _similar(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, n=3)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""


def _call_factory(target: str, factory: object) -> object:
    if not callable(factory):
        raise UsageError(f"target {target!r}: its type {type(factory).__qualname__} cannot be called; leave out the ()")
    if inspect.iscoroutinefunction(factory):
        raise UsageError(f"target {target!r}: the factory is async; write it as def, and start things in on_startup")
    if not takes(factory, 0):
        raise UsageError(f"target {target!r}: a factory is called without arguments, and this one needs some")
    result: object = factory()
    return result


def _is_factory(found: object) -> bool:
    return callable(found) and takes(found, 0) and not takes(found, 1)
