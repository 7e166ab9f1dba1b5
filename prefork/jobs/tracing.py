"""Spans of jobs: one in the worker from the submission to the end, and its child in the process that runs the job.

The context goes along as the fields that W3C defines (traceparent, tracestate, baggage), not as an object.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context

from opentelemetry import context as otel
from opentelemetry import propagate, trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from prefork.core.job import State
from prefork.jobs import context
from prefork.jobs.job import Job
from prefork.system import telemetry

_FAILED = frozenset({State.FAILED, State.TIMED_OUT, State.CANCELLED, State.CRASHED})

tracer = trace.get_tracer("prefork")  # a proxy, until there is a provider


class JobTracer:
    """What pools and runners tell of their jobs when --otel is on: `context.tracer`."""

    def __init__(self) -> None:
        self._submitted: Span | None = None  # its job is being made
        self._spans: dict[Job, Span] = {}  # of jobs that are not over

    # -- in the worker

    def submitted(self, name: str) -> dict[str, str]:
        """A job is about to be submitted. Returns what is to travel with it."""
        self._submitted = span = tracer.start_span(f"offload {name}", kind=SpanKind.PRODUCER)
        carrier: dict[str, str] = {}
        propagate.inject(carrier, trace.set_span_in_context(span))
        return carrier

    def accepted(self, job: Job) -> None:
        """It was."""
        span, self._submitted = self._submitted, None
        if span is not None:
            span.set_attribute("prefork.job.number", job.number)
            self._spans[job] = span

    def over(self, job: Job) -> None:
        """It has ended, one way or the other."""
        span = self._spans.pop(job, None)
        if span is None:
            return
        if job.state in _FAILED:
            span.set_attribute("error.type", job.state.value)
            span.set_status(Status(StatusCode.ERROR, f"the job {job.state.value}"))
        span.end()

    # -- in the process that runs it

    def arrived(self, inside: Context, carrier: dict[str, str]) -> None:
        """Make the context it was submitted in the current one, inside of what it will run in."""
        inside.run(lambda: otel.attach(propagate.extract(carrier)))

    @contextmanager
    def running(self, inside: Context, name: str, number: int) -> Iterator[None]:
        """It runs, in the context `inside`."""
        telemetry.ensure_provider()
        span = inside.run(tracer.start_span, f"run {name}", kind=SpanKind.CONSUMER)
        span.set_attribute("prefork.job.number", number)
        span.set_attribute("code.function.name", name)
        token = inside.run(lambda: otel.attach(trace.set_span_in_context(span)))
        try:
            yield
        except BaseException as error:
            fail(span, error)
            raise
        finally:
            inside.run(otel.detach, token)
            span.end()


def fail(span: Span, error: BaseException) -> None:
    """Say with what it failed."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    span.record_exception(error)
    span.set_attribute("error.type", name)
    span.set_status(Status(StatusCode.ERROR, f"{name}: {error}"))


def install() -> None:
    """Trace the jobs of this process, and of those that are forked from it."""
    if context.tracer is None:
        context.tracer = JobTracer()
