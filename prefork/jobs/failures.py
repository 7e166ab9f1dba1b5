"""Exceptions on their way from one process to another, with the traceback they had there."""

import pickle
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
    """An exception as it travels: how to make it anew, what it said, and its traceback."""

    kind: type[BaseException] | None  # None: it cannot be made anew
    args: tuple[Any, ...]
    state: dict[str, Any] | None
    whole: bytes  # its own pickle, when that works; then the fields before are not needed
    words: str
    traceback: str


def take(error: BaseException) -> Failure:
    """What of an exception can travel. Its type survives when the other side can import it."""
    text = app_traceback(error).encode("utf-8", "backslashreplace").decode()
    words = f"{type(error).__qualname__}: {error}"
    if not isinstance(error, Exception) or isinstance(error, StopIteration):
        # SystemExit would end the worker, CancelledError pass for a cancelled request, StopIteration for an end.
        return Failure(None, (), None, b"", words, text)
    if _made_in_python(type(error)):
        # Not by calling the class, as pickle does: its __init__ may need other arguments than `args`.
        anew = Failure(type(error), error.args, dict(vars(error)) or None, b"", words, text)
        if _travels(anew):
            return anew
    try:
        whole = pickle.dumps(error, 5)
        if type(pickle.loads(whole)) is type(error):
            return Failure(None, (), None, whole, words, text)
    except Exception:
        pass  # anything its class may raise: then only its words go
    return Failure(None, (), None, b"", words, text)


def restore(failure: Failure) -> BaseException:
    """The exception, or an OffloadError with its words, caused by its traceback."""
    error: BaseException | None = None
    try:
        if failure.kind is not None:
            error = failure.kind.__new__(failure.kind, *failure.args)
            error.args = failure.args
            vars(error).update(failure.state or {})
        elif failure.whole:
            error = pickle.loads(failure.whole)
    except Exception:
        pass  # as above
    if not isinstance(error, BaseException):
        error = OffloadError(failure.words)
    error.__cause__ = RemoteTraceback(failure.traceback)
    return error


def _made_in_python(kind: type[BaseException]) -> bool:
    """Whether what is special about the class is its Python code: its `__init__` only, not `__reduce__` or C state."""
    native = next(base for base in kind.__mro__ if base.__module__ == "builtins")
    own = [name for name in ("__reduce__", "__new__", "__init__") if getattr(kind, name) is not getattr(native, name)]
    return own == ["__init__"] and kind.__reduce__ is BaseException.__reduce__


def _travels(failure: Failure) -> bool:
    try:
        return type(restore(pickle.loads(pickle.dumps(failure, 5)))) is failure.kind
    except Exception:
        return False
