"""What travels along with a job: the id of the request it belongs to, and the context variables the app has named."""

import asyncio
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Any, Final, Protocol

from prefork.errors import Unsendable

if TYPE_CHECKING:
    from prefork.jobs.tracing import JobTracer

TRACE: Final = "prefork.trace"  # the name under which a trace travels among the variables


class Origin(Protocol):
    """What a job was submitted for: a request."""

    @property
    def id(self) -> str: ...


origin: Final[ContextVar[Origin | None]] = ContextVar("prefork.origin", default=None)

handling: Final[ContextVar["asyncio.Task[Any] | None"]] = ContextVar("prefork.handling", default=None)
"""The task that handles the current request, also in tasks that it has started."""

tracking = False  # whether `enter` is called for every request, which costs each of them 0.6 µs

tracer: "JobTracer | None" = None  # with --otel: who is told of jobs

_carried: Final[dict[str, ContextVar[Any]]] = {}


def track_requests() -> None:
    """Let `enter` be called for every request from now on: somebody in this process has asked for `offload`, or for
    children."""
    global tracking
    tracking = True


def enter(request: Origin) -> None:
    """The current task handles a request."""
    origin.set(request)
    handling.set(asyncio.current_task())


def carry(*variables: ContextVar[Any]) -> None:
    """Let jobs see these context variables with the values they had when the job was submitted.

    Call it where the variables are defined, at the top level of a module. Raises ValueError when another variable of
    that name is carried already.
    """
    for variable in variables:
        if _carried.setdefault(variable.name, variable) is not variable:
            raise ValueError(f"another context variable named {variable.name!r} is carried already")


def collect() -> tuple[str | None, dict[str, Any]] | None:
    """The id of the current request and the values of the carried variables; None when there is nothing."""
    request = origin.get()
    values: dict[str, Any] = {}
    if _carried:
        now = copy_context()
        values = {name: now[variable] for name, variable in _carried.items() if variable in now}
    if request is None and not values:
        return None
    return (None if request is None else request.id), values


def make(values: dict[str, Any]) -> Context:
    """A context in which the carried variables have these values. Raises Unsendable for one that is not known here."""
    context = copy_context()  # with what the start hooks have set
    for name, value in values.items():
        if name == TRACE:
            if tracer is not None:  # not with Dask: its workers trace nothing
                tracer.arrived(context, value)
            continue
        variable = _carried.get(name)
        if variable is None:
            raise Unsendable(
                f"context variable {name!r} is not known in the offloader: call carry() where it is defined, at the "
                "top level of a module that the job's function is in, or imports"
            )
        context.run(variable.set, value)
    return context
