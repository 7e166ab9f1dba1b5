"""Decide what the probes answer, and why: from the master's last status and how long ago that was."""

from typing import Final, NamedTuple

from prefork.control.status import ServerStatus

SILENT_SECONDS: Final = 5.0  # a master that has not answered for so long hangs, or is stopped; it answers in some ms

_SERVING: Final = ("ready", "stalled")  # one that is blocked is not gone: to send its clients away would block the next


class Verdict(NamedTuple):
    """`words` is one line."""

    good: bool
    words: str


def liveness(silent: float) -> Verdict:
    """Whether the server works at all: its master answers. `silent` is for how many seconds it has not."""
    if silent >= SILENT_SECONDS:
        return Verdict(False, f"not live: the master has not answered for {silent:.0f} s")
    return Verdict(True, "live")


def readiness(status: ServerStatus | None, silent: float) -> Verdict:
    """Whether to send requests here: not while it boots, drains or stops, nor when no worker can take one."""
    live = liveness(silent)
    if not live.good:
        return Verdict(False, f"not ready: {live.words.removeprefix('not live: ')}")
    if status is None:
        return Verdict(False, "not ready: booting")
    if status.state != "ready":
        return Verdict(False, f"not ready: {status.state}")
    serving = sum(worker.state in _SERVING for worker in status.workers)
    blocked = sum(worker.state == "stalled" for worker in status.workers)
    if not serving:
        return Verdict(False, f"not ready: none of {status.wanted} workers")
    words = f"ready: {serving} of {status.wanted} workers"
    return Verdict(True, f"{words}, {blocked} of them blocked" if blocked else words)
