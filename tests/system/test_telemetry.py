"""The tracer provider is the app's, or what OTEL_* variables describe; what is missing is named."""

import importlib.util
import threading
from importlib.metadata import EntryPoint
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from prefork.errors import UsageError
from prefork.system import telemetry


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "OTEL_TRACES_EXPORTER",
        "OTEL_SERVICE_NAME",
        "OTEL_RESOURCE_ATTRIBUTES",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(telemetry, "service", "shop")


def made(monkeypatch: pytest.MonkeyPatch, **variables: str) -> TracerProvider:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    provider = telemetry._make_provider()
    assert isinstance(provider, TracerProvider)
    return provider


def test_without_the_package_the_flag_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    telemetry.check()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"--otel needs opentelemetry-api: pip install prefork\[otel\]"):
        telemetry.check()


def test_the_service_is_named_by_the_environment_before_us(monkeypatch: pytest.MonkeyPatch) -> None:
    none = {"OTEL_TRACES_EXPORTER": "none"}
    assert made(monkeypatch, **none).resource.attributes["service.name"] == "shop"
    assert made(monkeypatch, OTEL_RESOURCE_ATTRIBUTES="service.name=cart").resource.attributes["service.name"] == "cart"
    assert made(monkeypatch, OTEL_SERVICE_NAME="till").resource.attributes["service.name"] == "till"


def test_exporters_are_those_of_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert made(monkeypatch, OTEL_TRACES_EXPORTER="none")._active_span_processor._span_processors == ()
    provider = made(monkeypatch, OTEL_TRACES_EXPORTER="console, otlp")
    kinds = [type(p.span_exporter).__name__ for p in provider._active_span_processor._span_processors]  # type: ignore[attr-defined]
    assert kinds == ["ConsoleSpanExporter", "OTLPSpanExporter"]
    provider.shutdown()


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"OTEL_TRACES_EXPORTER": "magic"}, "there is no exporter magic .* pip install opentelemetry-exporter-magic"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "pip install opentelemetry-exporter-otlp-proto-grpc"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, "must be one of http/protobuf, grpc"),
    ],
)
def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        made(monkeypatch, **variables)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1", "max_queue_size must be a positive integer"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "x", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT must be"),
    ],
)
def test_a_value_that_opentelemetry_refuses_is_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    with pytest.raises(UsageError, match=f"--otel: OpenTelemetry refuses an OTEL_\\* variable: {words}"):
        made(monkeypatch, **{name: value})


def test_an_exporter_that_lacks_a_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("magic", "no_such_module:Exporter", "opentelemetry_traces_exporter")
    monkeypatch.setattr(telemetry, "entry_points", lambda **_: [entry])
    with pytest.raises(UsageError, match="OTEL_TRACES_EXPORTER = magic: No module named 'no_such_module'"):
        made(monkeypatch, OTEL_TRACES_EXPORTER="magic")


def test_a_flush_that_hangs_or_fails_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    hanging, asked = threading.Event(), threading.Event()

    class Provider:
        def force_flush(self, milliseconds: int) -> Any:
            asked.set()
            if not hanging.wait():
                return
            raise RuntimeError

    monkeypatch.setattr(trace, "get_tracer_provider", Provider)
    monkeypatch.setattr(telemetry, "FLUSH_SECONDS", 0.01)
    telemetry.flush()
    assert asked.is_set()
    hanging.set()
    telemetry.flush()
