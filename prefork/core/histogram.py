"""Read histograms: counts of what fell between bounds, one count for each bound and one for what is beyond the last."""

from collections.abc import Iterable, Sequence
from itertools import zip_longest


def quantile(bounds: Sequence[float], counts: Sequence[float], share: float) -> float | None:
    """What that share of what was counted does not exceed, evenly spread within a bucket; the last bound for what is
    beyond it. None when nothing was counted."""
    left = sum(counts) * share
    if not left:
        return None
    low = 0.0
    for high, count in zip(bounds, counts, strict=False):
        if count and left <= count:
            return low + (high - low) * left / count
        left -= count
        low = high
    return low


def since(after: Sequence[int], before: Sequence[int]) -> list[int]:
    """What was counted between two looks; all of it, when what was there before had other buckets, or none."""
    if len(after) != len(before):
        return list(after)
    return [max(0, new - old) for new, old in zip(after, before, strict=True)]


def together(histograms: Iterable[Sequence[int]]) -> list[int]:
    """Several as one."""
    return [sum(counts) for counts in zip_longest(*histograms, fillvalue=0)]
