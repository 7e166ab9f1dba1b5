"""A job has a span from its submission to its end, whatever that is, and the process that runs it has its child."""

from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from prefork.core.job import State
from prefork.errors import QueueFull, Unsendable
from prefork.jobs import context
from prefork.jobs.options import Offload
from prefork.system import telemetry
from tests.jobs import work
from tests.jobs.backend import Desk, call_of, crash
from tests.spans import Spans, kept_spans, parent_id, span_id, trace_id

NAME = "tests.jobs.work.double"

tracer = trace.get_tracer("test")


@pytest.fixture
def spans() -> Iterator[Spans]:
    with kept_spans() as spans:
        yield spans


def test_a_span_begins_with_the_submission_under_the_current_one_and_ends_with_the_job(spans: Spans) -> None:
    desk = Desk()
    with tracer.start_as_current_span("request"):
        job = desk.submit()
    desk.take(job)
    assert spans.names == ["request"]
    desk.pool.returned(job, 2, 0.1)
    span = spans.one(f"offload {NAME}")
    assert span.kind is SpanKind.PRODUCER
    assert dict(span.attributes or {}) == {"prefork.job.number": job.number}
    assert parent_id(span) == span_id(spans.one("request"))
    assert span.status.status_code is StatusCode.UNSET


@pytest.mark.parametrize("ending", [State.FAILED, State.TIMED_OUT, State.CANCELLED, State.CRASHED])
def test_the_span_of_a_job_that_gives_no_result_tells_why(spans: Spans, ending: State) -> None:
    desk = Desk()
    job = desk.running(Offload(timeout=1.0))
    if ending is State.FAILED:
        desk.pool.raised(job, ValueError("no"), 0.1)
    elif ending is State.TIMED_OUT:
        desk.advance(1.0)
    elif ending is State.CANCELLED:
        job.cancel()
    else:
        desk.pool.died(job, crash())
    assert job.state is ending
    span = spans.one(f"offload {NAME}")
    assert (span.attributes or {})["error.type"] == ending.value
    assert span.status.status_code is StatusCode.ERROR


def test_what_is_refused_or_cannot_be_sent_leaves_no_span_to_the_next_job(spans: Spans) -> None:
    desk = Desk(offload_queue=1)
    with pytest.raises(Unsendable):
        desk.submit(work.double, lambda: None)
    job = desk.submit()
    with pytest.raises(QueueFull):
        desk.submit()
    desk.take(job)
    desk.pool.returned(job, 2, 0.1)
    assert spans.names == [f"offload {NAME}"]


def test_a_job_that_runs_is_a_child_of_its_submission(spans: Spans, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "_ensured", True)
    desk = Desk()
    job = desk.submit()
    *_, about = call_of(job)
    inside = context.make(about.variables)
    assert context.tracer is not None
    with pytest.raises(ValueError, match="no"), context.tracer.running(inside, NAME, job.number):
        inside.run(_trace_and_fail)
    desk.take(job)
    desk.pool.returned(job, 2, 0.1)
    submitted, ran, within = (spans.one(name) for name in (f"offload {NAME}", f"run {NAME}", "within"))
    assert (parent_id(ran), parent_id(within)) == (span_id(submitted), span_id(ran))
    assert trace_id(submitted) == trace_id(within)
    assert ran.kind is SpanKind.CONSUMER
    assert (ran.attributes or {})["error.type"] == "ValueError"
    assert [event.name for event in ran.events] == ["exception"]


def _trace_and_fail() -> None:
    with tracer.start_as_current_span("within"):
        pass
    raise ValueError("no")


def test_a_process_that_traces_nothing_takes_a_job_that_carries_a_trace() -> None:
    assert context.tracer is None
    context.make({context.TRACE: {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}})


def test_without_the_flag_nothing_travels() -> None:
    assert call_of(Desk().submit())[3] is None
