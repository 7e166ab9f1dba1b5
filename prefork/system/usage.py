"""What a process uses of memory and processor time, as /proc tells (proc_pid_stat(5), proc_pid_smaps(5))."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_PAGE_BYTES: Final = os.sysconf("SC_PAGESIZE")
_TICKS: Final = os.sysconf("SC_CLK_TCK")  # of processor time, a second
_KIB: Final = 1024

# Fields of /proc/PID/stat after the name, which may hold anything; the first of them is the third of the man page.
_STATE, _UTIME, _STIME, _STARTED, _RSS = 0, 11, 12, 19, 21
_GONE: Final = (b"Z", b"X")  # a zombie has left its memory


@dataclass(frozen=True, slots=True)
class Usage:
    """Of one process. `rss` counts pages that it shares with others in full; see `proportional`."""

    rss: int  # bytes
    cpu: float  # seconds, user and system
    started: float  # seconds after the machine was, so a number that was given again is told apart


def usage(pid: int) -> Usage | None:
    """What process `pid` uses; None when it has ended. It costs some 15 µs."""
    text = _read(f"/proc/{pid}/stat")
    if text is None:
        return None
    fields = text[text.rindex(b")") + 2 :].split()
    if fields[_STATE] in _GONE:
        return None
    return Usage(
        rss=int(fields[_RSS]) * _PAGE_BYTES,
        cpu=(int(fields[_UTIME]) + int(fields[_STIME])) / _TICKS,
        started=int(fields[_STARTED]) / _TICKS,
    )


def proportional(pid: int) -> int | None:
    """Its memory in bytes, where a page that is shared by n processes counts as 1/n (PSS), so that the sum of a tree is
    what the tree takes. None when it has ended, or is not ours to look at. The kernel walks all its mappings for this:
    it costs a millisecond for each 100 MB or so, and holds up the process if that maps memory meanwhile."""
    text = _read(f"/proc/{pid}/smaps_rollup")
    for line in (text or b"").splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * _KIB
    return None


def tree(pids: Iterable[int]) -> int:
    """The memory of these processes together, in bytes."""
    return sum(proportional(pid) or 0 for pid in pids)


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except OSError:  # it is gone (ENOENT, ESRCH), or another user's (EACCES)
        return None
