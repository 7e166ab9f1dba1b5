"""Decide when a slot whose workers die young may try again."""

from dataclasses import dataclass
from typing import Final

FIRST_SECONDS: Final = 0.1
LONGEST_SECONDS: Final = 30.0
YOUNG_SECONDS: Final = 1.0  # a worker that dies sooner after it was ready did not really start
HEALTHY_SECONDS: Final = 60.0  # a worker that served this long clears what its predecessors did


@dataclass
class Backoff:
    """One slot's memory of its failures. A worker that dies later than young is replaced at once."""

    failures: int = 0
    not_before: float = 0.0  # monotonic seconds

    def died(self, lived: float | None, now: float) -> float:
        """A worker of this slot died `lived` seconds after it was ready (None: never was). Returns the delay in
        seconds before the next."""
        if lived is not None and lived >= HEALTHY_SECONDS:
            self.failures = 0
        if lived is not None and lived >= YOUNG_SECONDS:
            delay = 0.0
        else:
            delay = min(LONGEST_SECONDS, FIRST_SECONDS * 2**self.failures)
            self.failures = min(self.failures + 1, 16)  # 2^16 × 0.1 s is far past the longest delay
        self.not_before = now + delay
        return delay
