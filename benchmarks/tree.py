"""Read a process tree out of /proc: who belongs to it, the CPU time it used, the memory it holds."""

import os
import time
from pathlib import Path

PROC = Path("/proc")
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")  # 10 ms on most machines
KIB = 1024

# Places in /proc/PID/stat, counted from the state, which follows the command's closing parenthesis.
PARENT, REAPED_USER, REAPED_SYSTEM = 1, 13, 14


def stat_fields(text: str) -> list[str]:
    """/proc/PID/stat from the state on. The command before it may hold spaces and parentheses."""
    return text.rpartition(")")[2].split()


def read_stat(pid: int) -> list[str] | None:
    """The stat fields of a process, None when it is gone."""
    try:
        return stat_fields((PROC / str(pid) / "stat").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return None


def members(parents: dict[int, int], root: int) -> list[int]:
    """`root` and everything below it, in a table of pid → parent's pid."""
    found = [root]
    for pid in found:
        found.extend(child for child, parent in parents.items() if parent == pid)
    return found


def process_tree(root: int) -> list[int]:
    """Pids of `root` and its live descendants."""
    parents = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit() and (fields := read_stat(int(entry.name))):
            parents[int(entry.name)] = int(fields[PARENT])
    return members(parents, root)


def cpu_clock(pid: int) -> int:
    """The clock that clock_getcpuclockid(3) gives for a process; Python offers only that of its own threads."""
    return ~pid << 3 | 2


def cpu_ns(root: int) -> int:
    """CPU time, user and system, that a tree has used so far, in nanoseconds.

    A live process is read from its CPU clock: exact, and with the threads it has ended. (/proc/PID/schedstat has the
    same precision, but of the main thread alone.) Children that it has waited for are known only in clock ticks.
    """
    total = 0
    for pid in process_tree(root):
        fields = read_stat(pid)
        try:
            own = time.clock_gettime_ns(cpu_clock(pid))
        except OSError:  # it ended after it was listed; its parent's account will have it
            continue
        reaped = int(fields[REAPED_USER]) + int(fields[REAPED_SYSTEM]) if fields else 0
        total += own + reaped * TICK_NS
    return total


def pss_bytes(root: int) -> int:
    """Memory of a tree in bytes: each process's proportional set size (its own pages and its share of others)."""
    total = 0
    for pid in process_tree(root):
        try:
            text = (PROC / str(pid) / "smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) * KIB
    return total
