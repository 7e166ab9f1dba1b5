"""What is traced, for tests: one tracer provider for the whole run, whose spans are kept in memory."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult
from opentelemetry.util.types import Attributes

from prefork.jobs import context
from prefork.jobs.tracing import JobTracer
from prefork.web import failures


class Switch(Sampler):
    """Samples what has no parent, as long as it is on: frameworks that trace by themselves (FastAPI does) go on using
    the provider in the tests of others."""

    on = False

    def should_sample(self, *args: Any, attributes: Attributes = None, **more: Any) -> SamplingResult:
        return SamplingResult(Decision.RECORD_AND_SAMPLE if self.on else Decision.DROP, attributes)

    def get_description(self) -> str:
        return "on or off"


class Spans:
    """The spans that have ended."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.sampler = Switch()
        provider = TracerProvider(sampler=ParentBased(self.sampler), shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        trace.set_tracer_provider(provider)

    @property
    def all(self) -> Sequence[ReadableSpan]:
        return self.exporter.get_finished_spans()

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.all]

    def one(self, name: str = "") -> ReadableSpan:
        """The only one, or the only one of that name."""
        (found,) = (span for span in self.all if name in ("", span.name))
        return found


_spans: list[Spans] = []  # a process can have one provider only


@contextmanager
def kept_spans() -> Iterator[Spans]:
    """Trace meanwhile."""
    if not _spans:
        _spans.append(Spans())
    spans = _spans[0]
    before = context.tracer, failures.on_failure
    context.tracer, spans.sampler.on = JobTracer(), True
    try:
        yield spans
    finally:
        context.tracer, failures.on_failure = before
        spans.sampler.on = False
        spans.exporter.clear()


def parent_id(span: ReadableSpan) -> int:
    assert span.parent is not None
    return span.parent.span_id


def span_id(span: ReadableSpan) -> int:
    return _context(span).span_id


def trace_id(span: ReadableSpan) -> str:
    return f"{_context(span).trace_id:032x}"


def _context(span: ReadableSpan) -> trace.SpanContext:
    found = span.get_span_context()
    assert found is not None
    return found
