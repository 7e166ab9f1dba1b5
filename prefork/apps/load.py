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
from prefork.apps.native import AppApplication, HandlerApplication
from prefork.errors import UsageError
from prefork.settings import Settings
from prefork.web.app import App
from prefork.web.handlers import check_handler

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
    if isinstance(found, App):
        return AppApplication(found, settings)
    _require_handler(target, found, bool(is_factory))
    return HandlerApplication(found, settings)


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
    if not _takes(factory, 0):
        raise UsageError(f"target {target!r}: a factory is called without arguments, and this one needs some")
    result: object = factory()
    return result


def _require_handler(target: str, found: object, from_factory: bool) -> None:
    what = "what the factory returned is" if from_factory else "it is"
    needed = "an App or a handler(request) is needed"
    if inspect.isclass(found):
        raise UsageError(f"target {target!r}: {what} a class; write {target.removesuffix('()')}() to make an instance")
    if not callable(found):
        raise UsageError(f"target {target!r}: {what} of type {type(found).__qualname__}; {needed}")
    if not _takes(found, 1):
        if not from_factory and _takes(found, 0):
            raise UsageError(f"target {target!r}: it takes no request; if it is a factory, write {target}()")
        if _takes(found, 3) or _takes(found, 2):
            kind = "an ASGI app" if _takes(found, 3) else "a WSGI app"
            raise UsageError(f"target {target!r}: {what} called like {kind}; {needed}")
    try:
        check_handler(found, "request")
    except TypeError as error:
        raise UsageError(f"target {target!r}: {error}") from None


def _takes(function: object, count: int) -> bool:
    """Whether a callable can be called with `count` positional arguments; true if it does not tell."""
    try:
        inspect.signature(function).bind(*range(count))  # type: ignore[arg-type]  # callable, as the caller checked
    except TypeError:
        return False
    except ValueError:
        pass
    return True
