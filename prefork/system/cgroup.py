"""What the control group allows and what it did to us: CPU quota and kills for lack of memory (v1 and v2)."""

import os
from collections.abc import Iterator
from math import ceil
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


def usable_cpus(root: Path = ROOT, membership: str | None = None) -> int:
    """CPUs this process may use: the smaller of its affinity and its group's quota, rounded up; at least 1."""
    affinity = len(os.sched_getaffinity(0))
    quotas = [quota for folder in _folders("cpu", root, membership) if (quota := _quota(folder)) is not None]
    return max(1, min(affinity, ceil(min(quotas, default=affinity))))


def oom_kills(root: Path = ROOT, membership: str | None = None) -> int:
    """How often the kernel killed a process of our group for lack of memory; 0 where it does not count."""
    for folder in _folders("memory", root, membership):
        for name in ("memory.events", "memory.oom_control"):
            for line in _lines(folder / name):
                key, _, value = line.partition(" ")
                if key == "oom_kill":
                    return int(value)
    return 0


class OomKills:
    """Remembers how often the kernel has killed for lack of memory, to tell whether it did again."""

    def __init__(self) -> None:
        self._seen = oom_kills()

    def more(self) -> bool:
        """Whether it did since the last call."""
        seen, self._seen = self._seen, oom_kills()
        return self._seen > seen


def _folders(controller: str, root: Path, membership: str | None) -> Iterator[Path]:
    """Our group's folders, innermost first: a limit may stand on any level (cgroups(7))."""
    lines = _lines(Path("/proc/self/cgroup")) if membership is None else membership.splitlines()
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        base = root / controllers if controllers else root
        if not base.is_dir() and controllers:
            base = root / controller
        inner = base / group.lstrip("/")
        while True:
            yield inner
            if inner == base or base not in inner.parents:
                break
            inner = inner.parent


def _quota(folder: Path) -> float | None:
    """CPUs per period, None when unlimited."""
    words = next(iter(_lines(folder / "cpu.max")), "").split()
    if len(words) == 2 and words[0] != "max":
        return int(words[0]) / int(words[1])
    quota = next(iter(_lines(folder / "cpu.cfs_quota_us")), "-1")
    period = next(iter(_lines(folder / "cpu.cfs_period_us")), "0")
    return int(quota) / int(period) if int(quota) > 0 and int(period) > 0 else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
