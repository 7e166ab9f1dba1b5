"""What is written is what Prometheus reads: checked by its own parsers."""

import sys

import pytest
from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from prefork import metrics
from prefork.errors import UsageError
from prefork.metrics.families import Family
from prefork.metrics.kinds import Declaration, Kind
from prefork.metrics.rendering import exposition

NASTY = 'a "quote", a \\ and\na line'
FAMILIES = [
    Family(Declaration(Kind.HISTOGRAM, "wait_seconds", NASTY, ("a",), (0.1, 1e6)), {(NASTY,): [1.0, 2.0, 3.0, 9.5]}),
    Family(Declaration(Kind.HISTOGRAM, "change", "May be negative.", (), (-1.0, 1.0)), {(): [1.0, 1.0, 0.0, -2.0]}),
    Family(Declaration(Kind.COUNTER, "sent_bytes_total", "Sent."), {(): [1e12]}),
    Family(Declaration(Kind.COUNTER, "orders", "Orders.", ("kind", "at")), {("é", ""): [2.0], ("b", "x"): [3.0]}),
    Family(Declaration(Kind.GAUGE, "level", "Level."), {(): [float("nan")]}),
    Family(Declaration(Kind.GAUGE, "nothing", "Nothing.")),
]


def read(openmetrics: bool) -> dict[str, Metric]:
    text = exposition(FAMILIES, openmetrics).decode()
    assert text.endswith("# EOF\n") is openmetrics
    return {family.name: family for family in (read_openmetrics if openmetrics else read_text)(text)}


@pytest.mark.parametrize("openmetrics", [False, True])
def test_every_kind_is_read_as_it_was_counted(openmetrics: bool) -> None:
    found = read(openmetrics)
    assert set(found) == {"wait_seconds", "change", "sent_bytes", "orders", "level", "nothing"}
    assert found["wait_seconds"].documentation == NASTY
    samples = {(s.name, s.labels.get("le")): (s.value, s.labels.get("a")) for s in found["wait_seconds"].samples}
    assert samples == {
        ("wait_seconds_bucket", "0.1"): (1.0, NASTY),
        ("wait_seconds_bucket", "1e+06"): (3.0, NASTY),
        ("wait_seconds_bucket", "+Inf"): (6.0, NASTY),
        ("wait_seconds_count", None): (6.0, NASTY),
        ("wait_seconds_sum", None): (9.5, NASTY),
    }
    assert [s.value for s in found["sent_bytes"].samples if s.name == "sent_bytes_total"] == [1e12]
    assert {(s.labels["kind"], s.labels["at"]): s.value for s in found["orders"].samples} == {
        ("é", ""): 2.0,
        ("b", "x"): 3.0,
    }


def test_units_are_told() -> None:
    found = read(openmetrics=True)
    assert {name: family.unit for name, family in found.items() if family.unit} == {
        "wait_seconds": "seconds",
        "sent_bytes": "bytes",
    }


def test_outside_of_any_server_a_process_tells_its_own() -> None:
    metrics.counter("alone", "Counted here.").inc(3)
    metrics.gauge("alone_level", "Said here.").set(2)
    assert "\nalone_total 3.0\n" in metrics.text()
    assert "\nalone_level 2.0\n" in metrics.text()
    assert metrics.text(openmetrics=True).endswith("# EOF\n")


def test_without_prometheus_client_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(UsageError, match=r"metrics as text need prometheus-client: pip install 'prefork\[standard\]'"):
        metrics.text()
