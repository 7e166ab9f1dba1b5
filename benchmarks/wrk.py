"""Run wrk and read what it prints."""

import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

HANG_SECONDS = 30  # beyond the load's own duration

MILLISECONDS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0, "h": 3_600_000.0}


class WrkError(Exception):
    """wrk failed, or printed something that is not its report."""


@dataclass(frozen=True)
class Report:
    """What wrk counted in one run."""

    requests: int
    requests_per_second: float
    p99_ms: float
    errors: int = 0  # answers with a status of 400 or more
    socket_errors: str = ""  # as wrk words it: "connect 0, read 3, write 0, timeout 0"

    def problem(self) -> str | None:
        """Why this run is not a measurement, None when it is one."""
        reasons = []
        if self.requests == 0:
            reasons.append("no request was answered")
        if self.errors:
            reasons.append(f"{self.errors} answers were not 2xx")
        if self.socket_errors:
            reasons.append(f"socket errors: {self.socket_errors}")
        return "; ".join(reasons) or None


def parse(text: str) -> Report:
    """Read the report of `wrk --latency`. WrkError if it is none."""
    requests = re.search(r"^\s*(\d+) requests in ", text, re.MULTILINE)
    rate = re.search(r"^Requests/sec:\s+([\d.]+)", text, re.MULTILINE)
    p99 = re.search(r"^\s*99%\s+([\d.]+)(us|ms|s|m|h)\s*$", text, re.MULTILINE)
    if not (requests and rate and p99):
        raise WrkError(f"not a report of wrk --latency: {text.strip()[-200:]!r}")
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
    """Load `url` for some seconds from one thread, whose process `pin` sets up. WrkError if that fails."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", *options, url]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds + HANG_SECONDS, preexec_fn=pin, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise WrkError(f"wrk did not end within {seconds + HANG_SECONDS} s") from error
    if done.returncode != 0:
        raise WrkError(f"wrk ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-200:]}")
    return parse(done.stdout)
