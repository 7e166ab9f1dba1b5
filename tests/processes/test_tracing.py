"""One trace goes through all processes that work for a request, and reaches the collector also when they end."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.processes.collector import Collector
from tests.processes.tree import CALM, ROOT, Tree

pytestmark = pytest.mark.processes

TRACE = "0af7651916cd43dd8448eb211c80319c"
FIELDS = f"traceparent: 00-{TRACE}-b7ad6b7169203331-01\r\nbaggage: tenant=blue\r\n"
QUICK = "20"  # milliseconds between two batches


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with Collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", QUICK)
        yield collector


def start(tree: Tree, *flags: str) -> None:
    tree.start("traced:app", "--otel", "--offload-max", "1", *CALM, *flags, workers=1)


@pytest.mark.parametrize("preload", ["--preload", "--no-preload"])
def test_a_trace_goes_from_the_client_through_handler_and_job(tree: Tree, collector: Collector, preload: str) -> None:
    start(tree, preload, "--name", "shop")
    assert tree.get("/work/7", FIELDS).text == '{"square":49,"tenant":"blue"}'
    request = collector.wait("GET /work/{number:int}")
    handler = collector.wait("within the handler")
    submitted = collector.wait("offload traced.work")
    ran = collector.wait("run traced.work")
    inside = collector.wait("within the job")
    chain = (request, handler, submitted, ran, inside)
    assert [span.parent for span in chain] == ["b7ad6b7169203331", *(span.id for span in chain[:-1])]
    assert {span.trace for span in chain} == {TRACE}
    assert [span.kind for span in chain] == ["server", "internal", "producer", "consumer", "internal"]
    assert not any(span.failed for span in chain)
    assert request.resource["process.pid"] == submitted.resource["process.pid"] == tree.worker(0)
    assert ran.resource["process.pid"] == inside.resource["process.pid"] != tree.worker(0)
    assert [(span.resource["service.name"], span.resource["prefork.role"]) for span in (request, ran)] == [
        ("shop", "worker"),
        ("shop", "offloader"),
    ]


def test_jobs_tell_how_they_ended(tree: Tree, collector: Collector) -> None:
    start(tree)
    assert tree.get("/fail").status == 500
    assert tree.get("/late").status == 504
    assert tree.get("/count").status == 200
    assert tree.get("/greet").text == "hello you"
    failed, ran = collector.wait("offload traced.fail"), collector.wait("run traced.fail")
    assert (failed.failed, failed.attributes["error.type"]) == (True, "failed")
    assert (ran.failed, ran.attributes["error.type"]) == (True, "ValueError")
    assert collector.wait("GET /fail").attributes["error.type"] == "ValueError"
    late = collector.wait("offload traced.sleep")
    assert (late.failed, late.attributes["error.type"]) == (True, "timed out")
    assert collector.named("run traced.sleep") == []  # its process was ended
    streamed = collector.wait("run traced.count")
    assert collector.wait("an item").parent == streamed.id
    greeted = collector.wait("run traced.Greeter.greet")
    assert collector.wait("within the call").parent == greeted.id
    assert collector.wait("offload traced.Greeter.greet").id == greeted.parent


def test_what_was_not_sent_yet_is_sent_when_processes_end(
    tree: Tree, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
    start(tree)
    tree.get("/work/2")
    assert collector.spans == []
    assert tree.stop() == 0
    assert collector.wait("GET /work/{number:int}").trace == collector.wait("within the job").trace


def test_a_collector_that_never_answers_holds_up_no_request_and_no_stop(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Collector(hold=True) as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", QUICK)
        start(tree)
        for _ in range(20):
            assert tree.get("/work/2").status == 200
        assert tree.stop() == 0
        assert not tree.log.find("killed")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        (
            "OTEL_TRACES_EXPORTER",
            "zipkin_json",
            "no exporter zipkin_json .*: pip install opentelemetry-exporter-zipkin",
        ),
        ("OTEL_PROPAGATORS", "b4", "OTEL_PROPAGATORS: Propagator b4 not found"),
    ],
)
def test_what_is_not_installed_stops_the_start_with_one_line(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(name, value)
    tree.launch("traced:app", "--otel", workers=1)
    assert tree.wait_exit() == 2
    tree.log.wait(words)
    assert not tree.log.find("Traceback")


def test_without_the_flag_nothing_of_it_is_loaded() -> None:
    program = (
        "import sys, prefork.processes.mold, prefork.processes.offloader, prefork.apps.asgi, prefork.apps.wsgi; "
        "print([name for name in sys.modules if 'opentelemetry' in name or name in sys.argv])"
    )
    command = [sys.executable, "-c", program, "prefork.apps.tracing", "prefork.system.telemetry"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
