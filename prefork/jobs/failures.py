"""Exceptions on their way from one process to another, with the traceback they had there."""

import copyreg
import pickle
from contextlib import suppress
from io import BytesIO
from types import FunctionType, MemberDescriptorType, WrapperDescriptorType
from typing import Any, NamedTuple

from prefork.errors import OffloadError
from prefork.system.tracebacks import app_traceback


class RemoteTraceback(Exception):
    """The traceback of an exception that was raised in another process; the `__cause__` of its copy here."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n\n{self.text.rstrip()}\n"


class Failure(NamedTuple):
    """An exception as it travels."""

    whole: bytes  # its pickle, or that of its `Recipe`; nothing when it cannot be made anew
    words: str
    traceback: str


class Recipe(NamedTuple):
    """How to make an exception anew without calling its class: its `__init__` may need other arguments than `args`."""

    kind: type[BaseException]
    args: tuple[Any, ...]
    state: dict[str, Any]  # its attributes, those in slots among them

    def make(self) -> BaseException:
        error = self.kind.__new__(self.kind, *self.args)
        native = next(
            base for base in self.kind.__mro__ if isinstance(vars(base).get("__init__"), WrapperDescriptorType)
        )
        vars(native)["__init__"](error, *self.args)  # where fields that are written in C come from
        for name, value in self.state.items():
            setattr(error, name, value)
        return error


def take(error: BaseException) -> Failure:
    """What of an exception can travel. Its type and state survive when the other side can import what they need."""
    text = app_traceback(error).encode("utf-8", "backslashreplace").decode()
    words = _words(error)
    if not isinstance(error, Exception) or isinstance(error, StopIteration | StopAsyncIteration):
        # SystemExit would end the worker, CancelledError pass for a cancelled request, StopIteration for an end.
        return Failure(b"", words, text)
    recipe = Recipe(type(error), error.args, {**vars(error), **_members(error)})
    for way in (recipe, error) if isinstance(type(error).__init__, FunctionType) else (error, recipe):
        try:
            whole = _dumps(way)
            copy = _loads(whole)
            if isinstance(copy, BaseException) and type(copy) is type(error) and _words(copy) == words:
                return Failure(whole, words, text)
        except Exception:
            pass  # anything its class may raise: then the next way, and in the end its words
    return Failure(b"", words, text)


def restore(failure: Failure) -> BaseException:
    """The exception, or an OffloadError with its words, caused by its traceback."""
    error: BaseException = OffloadError(failure.words)
    try:
        if failure.whole and isinstance(made := _loads(failure.whole), Exception):
            error = made
    except Exception:
        pass  # its class cannot be imported here, or raises
    error.__cause__ = RemoteTraceback(failure.traceback)
    return error


def _words(error: BaseException) -> str:
    try:
        return f"{type(error).__qualname__}: {error}"
    except Exception:  # its __str__ does
        return f"{type(error).__qualname__}, which cannot be told"


def _members(error: BaseException) -> dict[str, Any]:
    """What an exception holds in slots, its own or those of a class written in C, as far as it can be pickled."""
    found = {}
    for base in type(error).__mro__:
        for name, member in vars(base).items():
            if isinstance(member, MemberDescriptorType) and not name.startswith("__") and hasattr(error, name):
                with suppress(Exception):
                    _dumps(getattr(error, name))
                    found[name] = getattr(error, name)
    return found


def _dumps(value: object) -> bytes:
    """A pickle in which exceptions are as their own classes have them: tblib, for one, replaces that for them all."""
    file = BytesIO()
    pickler = pickle.Pickler(file, 5)
    table = copyreg.dispatch_table
    pickler.dispatch_table = {kind: how for kind, how in table.items() if not issubclass(kind, BaseException)}
    pickler.dump(value)
    return file.getvalue()


def _loads(whole: bytes) -> object:
    value = pickle.loads(whole)
    return value.make() if isinstance(value, Recipe) else value
