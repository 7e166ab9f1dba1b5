"""Run a program that measures something and prints what it found as JSON lines."""

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.process import end_all, last_line
from benchmarks.servers import APPS

Line = dict[str, Any]


class ProgramError(Exception):
    """Something could not be measured; the text says why."""


@dataclass(frozen=True)
class Outcome:
    """What a program printed, and why it printed no more where it did not end well."""

    lines: list[Line]
    problem: str | None = None


def printed(words: Sequence[str], variables: Mapping[str, str], limit: float) -> Outcome:
    """Run a program for at most `limit` seconds, and end whatever it leaves behind."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            list(words),
            cwd=APPS,
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=log,
            start_new_session=True,
        )
        try:
            code: int | None = process.wait(limit)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            end_all(process)
        output.seek(0)
        return Outcome(parse(output.read()), ended(code, limit, last_line(log)))


def parse(text: bytes) -> list[Line]:
    """The whole lines of a program that may have been killed while it wrote. ProgramError if one is not JSON."""
    try:
        return [json.loads(line) for line in text.split(b"\n")[:-1]]
    except ValueError as error:
        raise ProgramError(f"not JSON lines: {text[:200]!r}") from error


def ended(code: int | None, limit: float, last: str) -> str | None:
    """Why a program did not end well, None if it did."""
    if code is None:
        return f"did not end within {limit:.0f} s: {last}"
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    return f"ended with {code}: {last}" if code else None
