"""Turn arguments and results into bytes and large buffers, and back (pickle protocol 5, PEP 574).

A buffer from BIG_BYTES up is kept apart: it is written to shared memory once, and its reader sees it there.
"""

import copyreg
import pickle
import struct
import sys
from collections.abc import Callable, Iterable, Sequence
from io import BytesIO
from types import NoneType
from typing import Any, Final, NamedTuple

from prefork.errors import Unsendable
from prefork.jobs.lending import Lent, here

BIG_BYTES: Final = 64 * 1024  # smaller ones are cheaper to copy into the message

WRAPPED_ITEMS: Final = 64  # of a container; to look at each of a million would cost more than it saves

_BUFFERS: Final = frozenset((bytes, bytearray, memoryview))
_CONTAINERS: Final = frozenset((tuple, list, dict))
_SCALARS: Final = frozenset((NoneType, bool, int, float))
_CASTS: Final = frozenset("bBhHiIlLqQnNfd?c")  # what memoryview.cast() takes


class Payload(NamedTuple):
    """A pickle and the buffers that belong to it, in order. The buffers are the sender's own memory, not copies.

    `lent` are the descriptors that travel beside it: of shared memory, which is neither copied nor counted here.
    """

    pickle: bytes
    buffers: Sequence[memoryview]
    lent: Lent | None = None

    @property
    def descriptors(self) -> Sequence[int]:
        """Those that travel beside it."""
        return () if self.lent is None else self.lent.descriptors

    @property
    def big(self) -> bool:
        """Whether it goes through shared memory."""
        return bool(self.buffers) or len(self.pickle) >= BIG_BYTES


def encode(value: Any) -> Payload:
    """Raises what pickle raises for what it cannot take: PicklingError, TypeError, AttributeError and others; OSError
    for lack of descriptors."""
    if type(value) in _SCALARS:
        return Payload(pickle.dumps(value, 5), ())
    buffers: list[memoryview] = []

    def keep(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < BIG_BYTES:
            return True  # into the pickle
        buffers.append(raw)
        return False

    lent: list[int] = []
    outer, here.lent = here.lent, lent
    try:
        stream = pickle.dumps(value, 5, buffer_callback=keep)
    except TypeError:  # perhaps for a memoryview somewhere within, which pickle does not know
        buffers.clear()
        lent.clear()
        file = BytesIO()
        pickler = pickle.Pickler(file, 5, buffer_callback=keep)
        pickler.dispatch_table = copyreg.dispatch_table | {memoryview: _reduce_view}
        pickler.dump(value)
        stream = file.getvalue()
    finally:
        here.lent = outer
    return Payload(stream, buffers, Lent(lent) if lent else None)


def decode(stream: bytes | memoryview, buffers: Iterable[Any] = ()) -> Any:
    """The value. Raises whatever its classes raise when they are made anew."""
    return pickle.loads(stream, buffers=buffers)


def wrap(value: Any, depth: int = 1) -> Any:
    """The value as it is pickled best: bytes, bytearray and memoryview as buffers, if they are large.

    Looks into short tuples, lists and dicts down to `depth`; what lies deeper is copied once more.
    """
    kind = type(value)
    if kind in _BUFFERS:
        return _wrap_buffer(value)
    if kind in _CONTAINERS and depth and 0 < len(value) <= WRAPPED_ITEMS:
        if kind is dict:
            return {key: wrap(item, depth - 1) for key, item in value.items()}
        return kind([wrap(item, depth - 1) for item in value])
    return value


class Buffer:
    """Pickles as bytes, bytearray or memoryview, by way of a buffer that can be kept apart."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes | bytearray | memoryview) -> None:
        self._value = value

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        value = self._value
        return _reduce_view(value) if isinstance(value, memoryview) else (type(value), (pickle.PickleBuffer(value),))


def _reduce_view(view: memoryview) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    flat = view if view.c_contiguous else memoryview(view.tobytes())
    return _view, (pickle.PickleBuffer(flat), _native(view.format), view.shape)


def _view(buffer: Any, form: str, shape: tuple[int, ...]) -> memoryview:
    view = memoryview(buffer).cast("B")
    shaped: memoryview = view.cast(form, shape) if view.nbytes else view.cast(form)  # type: ignore[call-overload]
    return shaped


def _native(form: str) -> str:
    """A memoryview's format as `memoryview.cast` takes it. Raises TypeError for what it does not take."""
    code = form.lstrip("@=<" if sys.byteorder == "little" else "@=>")
    if code not in _CASTS or struct.calcsize(form) != struct.calcsize(code):
        raise TypeError(f"a memoryview of format {form!r} cannot be sent; send its tobytes(), or a NumPy array")
    return code


def _wrap_buffer(value: bytes | bytearray | memoryview) -> Any:
    return Buffer(value) if isinstance(value, memoryview) or len(value) >= BIG_BYTES else value


def encode_call(
    function: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any], about: Any
) -> Payload:
    """A call as a payload. Raises Unsendable that names the argument which cannot be sent."""
    try:
        return encode((function, wrap(args, 2), wrap(kwargs, 2), about))
    except Exception as error:  # whatever its classes raise
        parts = {
            **{f"argument {index}": argument for index, argument in enumerate(args, 1)},
            **{f"argument {key!r}": argument for key, argument in kwargs.items()},
            **{f"context variable {key!r}": value for key, value in (about.variables if about else {}).items()},
            "the function": function,
        }
        raise Unsendable(f"{name}: {_blame(parts) or f'the call cannot be pickled: {_words(error)}'}") from None


def _blame(parts: dict[str, Any]) -> str | None:
    """Which part of a call cannot be pickled, why, and what to do; None when each of them can."""
    for label, part in parts.items():
        wrong = why_not(part)
        if wrong is not None:
            return (
                f"{label}, of type {_type_name(part)}, cannot be pickled: {wrong}; pass plain data, or what the job "
                "needs to make it itself"
            )
    return None


def encode_result(value: Any, name: str) -> Payload:
    """A result as a payload. Raises Unsendable that names the function and the type."""
    try:
        return encode(wrap(value))
    except Exception as error:  # whatever its classes raise
        raise Unsendable(
            f"{name} returned {_type_name(value)}, which cannot be pickled: {_words(error)}; return plain data"
        ) from None


def why_not(value: Any) -> str | None:
    """Why a value cannot be sent; None when it can."""
    try:
        encode(wrap((value,), 2))
    except Exception as error:  # whatever its classes raise
        return _words(error)
    return None


def _type_name(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
