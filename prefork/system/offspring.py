"""Who descends from a process, as /proc tells (proc_pid_task(5), children)."""

import os


def offspring(pid: int) -> set[int]:
    """Its children, their children, and so on, as far as we may look; without itself. What comes and goes meanwhile may
    be missing."""
    found: set[int] = set()
    left = [pid]
    while left:
        fresh = _children(left.pop()) - found - {pid}
        found |= fresh
        left.extend(fresh)
    return found


def _children(pid: int) -> set[int]:
    children: set[int] = set()
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", "rb", buffering=0) as file:
                children.update(map(int, file.read().split()))
    except OSError:  # it is gone, or this kernel does not tell
        pass
    return children
