"""The bars that prefork's offload is to reach."""

from collections.abc import Sequence
from operator import sub, truediv

from benchmarks.offload_figures import CRASH_JOBS, CRASHING, Jobs, Mixed
from benchmarks.rounds import Sample, paired
from benchmarks.verdicts import Verdict, at_least, at_most

BASE = "prefork"
PPE = ("ppe", "ppe-direct")  # judged by the faster in each round
PISCINA = ("piscina",)
RIVAL = "uvicorn"  # of the mixed load


def round_trip(samples: Sequence[Sample]) -> list[Verdict]:
    """Samples in µs."""
    return [
        at_most("round trip ÷ ProcessPoolExecutor's", 0.35, paired(samples, BASE, PPE, min, truediv), ".2f"),
        at_most("round trip − Piscina's, µs", 40, paired(samples, BASE, PISCINA, min, sub), ".0f"),
    ]


def throughput(samples: Sequence[Sample]) -> list[Verdict]:
    """Samples in jobs a second."""
    return [at_least("small jobs/s ÷ ProcessPoolExecutor's", 5, paired(samples, BASE, PPE, max, truediv), ".2f")]


def array(samples: Sequence[Sample]) -> list[Verdict]:
    """Samples in ms."""
    return [
        at_most("10 MB array ÷ ProcessPoolExecutor's", 0.1, paired(samples, BASE, PPE, min, truediv), ".2f"),
        at_most("10 MB array ÷ Piscina's", 1, paired(samples, BASE, PISCINA, min, truediv), ".2f"),
    ]


def mixed(found: Sequence[Mixed]) -> list[Verdict]:
    """Light requests wait no longer, and heavy ones get no less done."""
    p99 = [Sample(one.name, one.round, one.p99_ms) for one in found]
    heavy = [Sample(one.name, one.round, one.heavy_per_second) for one in found]
    peer = "uvicorn + ProcessPoolExecutor's"
    return [
        at_most(f"light p99 ÷ {peer}", 1, paired(p99, BASE, [RIVAL], min, truediv), ".2f"),
        at_least(f"heavy jobs/s ÷ {peer}", 1, paired(heavy, BASE, [RIVAL], max, truediv), ".2f"),
    ]


def crash(jobs: Jobs | None) -> list[Verdict]:
    """A crash costs one job."""
    return [
        at_least("right answers beside crashes", CRASH_JOBS - CRASHING, jobs.right if jobs else None, ".0f"),
        at_least("crashes named", CRASHING, jobs.named if jobs else None, ".0f"),
    ]
