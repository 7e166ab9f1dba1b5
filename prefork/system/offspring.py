"""Who descends from a process, as /proc tells (proc_pid_task(5), children)."""

import os
from contextlib import suppress


def offspring(pid: int) -> set[int]:
    """Its children, their children, and so on, as far as we may look; without itself. What comes and goes meanwhile may
    be missing."""
    found: set[int] = set()
    left = [pid]
    while left:
        fresh = children(left.pop()) - found - {pid}
        found |= fresh
        left.extend(fresh)
    return found


def children(pid: int) -> set[int]:
    """Its children, zombies among them. Nothing when it is gone, or this kernel does not tell."""
    found: set[int] = set()
    with suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError), open(f"/proc/{pid}/task/{task}/children", "rb", buffering=0) as file:
                found.update(map(int, file.read().split()))
    return found
