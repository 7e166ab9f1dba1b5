"""Run a load generator, and the report that each of them gives."""

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

HANG_SECONDS = 30  # beyond the load's own duration


class LoadError(Exception):
    """A load generator failed, printed something that is not its report, or saw wrong answers."""


@dataclass(frozen=True)
class Report:
    """What was counted in one run. A request may be a message: whatever the load is made of."""

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


def generate(command: Sequence[str], seconds: int, pin: Callable[[], None] | None = None) -> str:
    """Run a generator that loads for `seconds`, in a process that `pin` sets up; what it printed. Raises LoadError."""
    name, limit = Path(command[0]).name, seconds + HANG_SECONDS
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, preexec_fn=pin, check=False)
    except subprocess.TimeoutExpired as error:
        raise LoadError(f"{name} did not end within {limit} s") from error
    if done.returncode != 0:
        raise LoadError(f"{name} ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-200:]}")
    return done.stdout
