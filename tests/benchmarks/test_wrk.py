"""wrk's report is read as it prints it, and what went wrong in a run is never lost."""

import pytest

from benchmarks.generator import LoadError, Report
from benchmarks.wrk import parse

REPORT = """\
Running 4s test @ http://127.0.0.1:40001/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   634.58us  112.29us   5.31ms   92.09%
    Req/Sec   100.17k     3.95k  104.81k    87.50%
  Latency Distribution
     50%  619.00us
     75%  655.00us
     90%  720.00us
     99%    1.03ms
  398764 requests in 4.00s, 49.82MB read
{trouble}Requests/sec:  99642.10
Transfer/sec:     12.45MB
"""


def report(trouble: str = "") -> Report:
    return parse(REPORT.format(trouble=trouble))


def test_a_clean_run_is_read_whole() -> None:
    assert report() == Report(requests=398764, requests_per_second=99642.10, p99_ms=1.03)
    assert report().problem() is None


@pytest.mark.parametrize(
    ("printed", "milliseconds"), [("512.00us", 0.512), ("1.03ms", 1.03), ("1.20s", 1200.0), ("1.50m", 90_000.0)]
)
def test_every_unit_of_latency_becomes_milliseconds(printed: str, milliseconds: float) -> None:
    text = REPORT.format(trouble="").replace("1.03ms", printed)
    assert parse(text).p99_ms == pytest.approx(milliseconds)


def test_an_answer_that_is_no_success_makes_the_run_invalid() -> None:
    assert report("  Non-2xx or 3xx responses: 12\n").problem() == "12 answers were not 2xx"


def test_socket_errors_make_the_run_invalid_and_are_quoted() -> None:
    errors = "connect 0, read 3, write 0, timeout 1"
    assert report(f"  Socket errors: {errors}\n").problem() == f"socket errors: {errors}"


def test_both_kinds_of_trouble_are_named() -> None:
    both = report("  Socket errors: connect 1, read 0, write 0, timeout 0\n  Non-2xx or 3xx responses: 5\n").problem()
    assert both == "5 answers were not 2xx; socket errors: connect 1, read 0, write 0, timeout 0"


def test_a_run_without_answers_is_invalid() -> None:
    text = REPORT.format(trouble="").replace("398764 requests", "0 requests")
    assert parse(text).problem() == "no request was answered"


@pytest.mark.parametrize("text", ["", "unable to connect to 127.0.0.1:1 Connection refused\n"])
def test_anything_else_is_an_error_and_not_a_figure(text: str) -> None:
    with pytest.raises(LoadError, match="not a report"):
        parse(text)
