"""Load a server over HTTP with wrk and read what it prints."""

import re
from collections.abc import Callable, Sequence

from benchmarks.generator import LoadError, Report, generate

MILLISECONDS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0, "h": 3_600_000.0}


def parse(text: str) -> Report:
    """Read the report of `wrk --latency`. LoadError if it is none."""
    requests = re.search(r"^\s*(\d+) requests in ", text, re.MULTILINE)
    rate = re.search(r"^Requests/sec:\s+([\d.]+)", text, re.MULTILINE)
    p99 = re.search(r"^\s*99%\s+([\d.]+)(us|ms|s|m|h)\s*$", text, re.MULTILINE)
    if not (requests and rate and p99):
        raise LoadError(f"not a report of wrk --latency: {text.strip()[-200:]!r}")
    errors = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    socket_errors = re.search(r"Socket errors: (.+)", text)
    return Report(
        requests=int(requests[1]),
        requests_per_second=float(rate[1]),
        p99_ms=float(p99[1]) * MILLISECONDS[p99[2]],
        errors=int(errors[1]) if errors else 0,
        socket_errors=socket_errors[1].strip() if socket_errors else "",
    )


def load(url: str, seconds: int, connections: int, options: Sequence[str], pin: Callable[[], None]) -> Report:
    """Load `url` for some seconds from one thread, whose process `pin` sets up. LoadError if that fails."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", *options, url]
    return parse(generate(command, seconds, pin))
