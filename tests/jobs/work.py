"""Functions and exceptions that jobs find here by name, as those of an app."""

import gc
import os
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from decimal import getcontext
from functools import lru_cache, partial, wraps
from typing import Any

kept: list[Any] = []  # what jobs hold on to
user: ContextVar[str] = ContextVar("tests.jobs.user")


def double(number: Any) -> Any:
    return 2 * number


def echo(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs


def first(*args: Any) -> Any:
    return args[0]


def nothing(*args: Any) -> None:
    """Drops its arguments, and cycles that may hold them."""
    gc.collect()


def keep(*args: Any) -> None:
    kept.extend(args)


def size_of(*args: Any) -> list[int]:
    return [memoryview(each).nbytes for each in args]


def checksum(data: Any) -> int:
    return sum(memoryview(data).cast("B"))


def pattern(number: int, count: int) -> bytes:
    return number.to_bytes(4, "big") * count


def fail(error: BaseException) -> None:
    raise error


def fail_by_type(kind: type[BaseException], *args: Any, **kwargs: Any) -> None:
    raise kind(*args, **kwargs)


def lambda_result() -> Any:
    return lambda: None


def count(most: int, of: int = 1) -> Iterator[bytes | int]:
    for number in range(most):
        yield number if of == 1 else pattern(number, of)


def count_once() -> Iterator[int]:
    yield 0


def count_then_fail(most: int) -> Iterator[int]:
    yield from range(most)
    raise LookupError("half way")


def who() -> str:
    return user.get("nobody")


def precision() -> int:
    return getcontext().prec


def traced(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def call(*args: Any) -> Any:
        return function(*args)

    return call


@traced
def decorated(number: int) -> int:
    return number + 1


@lru_cache
def cached(number: int) -> int:
    return number + 1


def hidden(number: int) -> int:
    return number


original = hidden
hidden = double

nameless = lambda number: number  # noqa: E731
add_one = partial(sum, start=1)


async def coroutine_function() -> None: ...


async def async_generator() -> Any:
    yield 1


def spawn(count: int) -> list[int]:
    """Processes that end when they are ended; their pids."""
    return [os.posix_spawn("/bin/sleep", ["sleep", "1000"], os.environ) for _ in range(count)]


class Machine:
    """Has methods of every kind."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    def times(self, number: int) -> int:
        return self.factor * number

    def __call__(self, number: int) -> int:
        return self.factor * number

    @classmethod
    def made(cls, factor: int) -> int:
        return cls(factor).factor

    @staticmethod
    def plain(number: int) -> int:
        return number

    async def later(self) -> None: ...

    async def flow(self) -> Any:
        yield 1


class Scale:
    """Can be called, and has no hash."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scale) and other.factor == self.factor

    def __call__(self, number: int) -> int:
        return self.factor * number


class AsyncMachine:
    async def __call__(self) -> None: ...


class Unpicklable:
    def __reduce__(self) -> str | tuple[Any, ...]:
        raise RuntimeError("cannot be told")


class Unmakeable:
    """Can be sent, not be made anew."""

    def __reduce__(self) -> tuple[Any, ...]:
        return fail_by_type, (LookupError, "not here")


# -- exceptions


class Plain(Exception): ...


class Required(Exception):
    def __init__(self, code: int, *, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason


class Slotted(Exception):
    __slots__ = ("code",)

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class BadSyntax(SyntaxError):
    def __init__(self, line: int) -> None:
        super().__init__("bad", ("file.py", line, 1, "text"))


class BadText(UnicodeDecodeError):
    def __init__(self, data: bytes) -> None:
        super().__init__("utf-8", data, 0, 1, "bad")


class BadName(NameError):
    def __init__(self, name: str) -> None:
        super().__init__(f"no {name}", name=name)


class MissingFile(OSError):
    def __init__(self, number: int, text: str) -> None:
        super().__init__(number, text)
        self.extra = "x"


class Wordless(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Stubborn(Exception):
    def __reduce__(self) -> str | tuple[Any, ...]:
        raise RuntimeError("will not go")


class Holding(Exception):
    """Holds what cannot be pickled."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.function = lambda: None


class Trick(Exception):
    """Is something else when it is made anew."""

    def __reduce__(self) -> str | tuple[Any, ...]:
        return str, ("not an exception",)


class Stop(StopIteration): ...


class Many(ExceptionGroup[Exception]):
    def __init__(self, message: str, errors: list[Exception]) -> None:
        self.extra = "x"
