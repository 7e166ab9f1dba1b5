"""Exception handlers: which of an app's handlers answers an error."""

from collections.abc import Callable
from typing import Any, NamedTuple

from prefork.errors import Busy, Overdue, PreforkError, RequestError
from prefork.jobs.references import name_of
from prefork.web.handlers import endpoint
from prefork.web.http_error import HTTPError
from prefork.web.routing import Endpoint


class Handler(NamedTuple):
    """An exception handler: what to await, and what the app wrote."""

    endpoint: Endpoint
    handler: Callable[..., Any]


class ExceptionHandlers:
    """One app's exception handlers, by exception class and by status."""

    __slots__ = ("_by_status", "_by_type")

    def __init__(self) -> None:
        self._by_type: dict[type[Exception], Handler] = {}
        self._by_status: dict[int, Handler] = {}

    def add(self, kind: type[Exception] | int, function: Callable[..., Any]) -> None:
        """Raises ValueError for a status that is no error or a kind that has a handler, TypeError for another kind."""
        handler = Handler(endpoint(function, "request", "error"), function)
        if kind is Exception:
            kind = 500
        if isinstance(kind, int):
            if not 400 <= kind <= 599:
                raise ValueError(f"exception_handler({kind}): an error's status is 400 to 599")
            known = self._by_status.setdefault(kind, handler)
        elif isinstance(kind, type) and issubclass(kind, Exception):
            known = self._by_type.setdefault(kind, handler)
        else:
            raise TypeError(f"exception_handler({kind!r}): pass an Exception class or a status")
        if known is not handler:
            raise ValueError(f"exception_handler({kind!r}): {name_of(known.handler)} handles that already")

    def by_type(self, error: Exception) -> Handler | None:
        """The handler for the error's class, else for the closest of its bases."""
        for kind in type(error).__mro__:
            # HTTPError and RequestError are answers, not faults: what catches faults in general is not for them.
            if kind is PreforkError and status_of(error) is not None:
                return None
            if kind in self._by_type:
                return self._by_type[kind]
        return None

    def by_status(self, status: int) -> Handler | None:
        """The handler for every error that ends in `status`."""
        return self._by_status.get(status)


def status_of(error: Exception) -> int | None:
    """The status an error asks for; None if it is a fault, which nobody expected."""
    return error.status if isinstance(error, HTTPError | RequestError | Busy | Overdue) else None


def as_http_error(error: BaseException) -> HTTPError | None:
    """The error as an answer, where it is one: 503 for work that was refused, 504 for what took too long."""
    if isinstance(error, Busy):
        return HTTPError(error.status, headers={"retry-after": str(error.retry_after)})
    if isinstance(error, Overdue):
        return HTTPError(error.status)
    return error if isinstance(error, HTTPError) else None
