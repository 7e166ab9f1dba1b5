"""How far our signals go, when we are root and run the app as somebody else: to our children, and to that user.

Molds tell which processes they have forked, and app code, which can speak through a mold's channel, can tell any
number. Without a limit it would have root end what is root's.
"""

import logging
import os
from pathlib import Path
from typing import Final

_ANYBODY: Final = -1

_uid = _ANYBODY
_log = logging.getLogger("prefork.system")


def limit_to(uid: int) -> None:
    """From now on, signals go to children of ours and to processes of this user only."""
    global _uid
    _uid = uid


def check(pid: int) -> None:
    """Raise ValueError for a process that we may not end, or that is not there."""
    if _uid != _ANYBODY and not _is_child(pid) and _uid not in _users(pid):
        raise ValueError(f"process {pid} is none of ours")


def includes(pid: int) -> bool:
    """Whether a signal may go to this process, or its group; if not, the log says so. One that is gone has an end."""
    if _uid == _ANYBODY or _is_child(pid):
        return True
    users = _users(pid)
    if not users or _uid in users:
        return True
    _log.error("process %d is none of ours and gets no signal", pid)
    return False


def _is_child(pid: int) -> bool:
    """Whether it is ours, and not reaped: so its number is its own."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _users(pid: int) -> set[int]:
    """Its real and its saved user, as kill(2) asks for; none if it is not there."""
    try:
        status = Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return set()
    real, _, saved, _ = map(int, status.partition(b"\nUid:")[2].splitlines()[0].split())
    return {real, saved}
