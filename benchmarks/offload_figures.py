"""What a round of a server under mixed load gave, and what became of a pool's jobs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

CRASH_JOBS = 1_000  # apps/offload_scenarios.py and apps/offload_piscina.js submit as many
CRASHING = 10


@dataclass(frozen=True)
class Mixed:
    """One round of one server under light and heavy requests."""

    name: str
    round: int
    light_per_second: float
    p50_ms: float
    p99_ms: float
    heavy_per_second: float
    refused: int  # 503
    failed: int  # other statuses, lost connections


@dataclass(frozen=True)
class Jobs:
    """What became of CRASH_JOBS jobs of which CRASHING end their process."""

    right: int
    named: int  # crashing jobs that were answered with a crash
    struck: int  # other jobs that were answered with one
    other: int
    unanswered: int


def tally(lines: Iterable[Mapping[str, object]]) -> Jobs:
    """Count the lines of answered jobs: `crashing` says which were to crash, `outcome` what the caller saw."""
    counts = {(crashing, outcome): 0 for crashing in (True, False) for outcome in ("right", "crash", "other")}
    for line in lines:
        counts[bool(line["crashing"]), str(line["outcome"])] += 1
    return Jobs(
        right=counts[False, "right"],
        named=counts[True, "crash"],
        struck=counts[False, "crash"],
        other=counts[True, "right"] + counts[True, "other"] + counts[False, "other"],
        unanswered=CRASH_JOBS - sum(counts.values()),
    )


def worst(found: Iterable[tuple[str, Jobs]], name: str) -> Jobs | None:
    """The round of a pool with the fewest right answers, None if it had none: races show only now and then."""
    own = [jobs for pool, jobs in found if pool == name]
    return min(own, key=lambda jobs: (jobs.right, jobs.named), default=None)
