"""The jobs that pools are compared with, importable by name in every process."""

import os
import signal
import time
from typing import Any

CRASH_EVERY = 100  # of 1,000 jobs 10 crash, spread evenly
CRASH_AT = 50
SPIN_SECONDS = 0.05
CHUNK = 2_000  # turns of a loop between two looks at the clock: about 50 µs


def empty() -> None:
    """Nothing: what is left is the way there and back."""


def add(first: int, second: int) -> int:
    """A small job with a result that can be checked."""
    return first + second


def changed_copy(array: Any) -> Any:
    """Another array of the same size, at the cost of a memcpy in every language: this is not about arithmetic."""
    result = array.copy()
    result[0] += 1
    return result


def crashes(number: int) -> bool:
    """Whether a job of `square_or_crash` is one of those that end their process."""
    return number % CRASH_EVERY == CRASH_AT


def square_or_crash(number: int) -> int:
    """Answer, or die as by the kernel's out-of-memory killer: no handler runs."""
    if crashes(number):
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def spin() -> str:
    """A pure-Python loop that uses SPIN_SECONDS of CPU time, whatever else runs on the machine."""
    end = time.thread_time() + SPIN_SECONDS
    while time.thread_time() < end:
        for _ in range(CHUNK):
            pass
    return "done"
