"""Say in the log how a worker ended, and which requests ended with it."""

import logging

from prefork.core.lifecycle import State
from prefork.core.roster import WorkerHandle
from prefork.messages import BootFailed
from prefork.processes.link import WorkerLink
from prefork.system import cgroup, process

_log = logging.getLogger("prefork.supervisor")


class DeathReports:
    """Tells how each worker ended."""

    def __init__(self) -> None:
        self._oom = cgroup.OomKills()

    def report(self, link: WorkerLink, status: int, now: float, stopping: bool) -> None:
        """Log the end of a worker. `status` as waitpid gives it, `now` in monotonic seconds."""
        handle = link.handle
        lost = link.board.in_flight(now)
        if handle.state is State.DRAINING and status == 0 and not lost:
            _log.info("%s has drained", handle, extra=fields(handle))
            return
        words = process.exit_words(status)
        if self._oom.more():
            words += ", killed for lack of memory (out-of-memory kill in its cgroup)"
        level = logging.INFO if (stopping or handle.killed) and not lost else logging.ERROR
        count = f"; {len(lost)} request{'s' if len(lost) > 1 else ''} lost" if lost else ""
        _log.log(level, "%s died: %s%s", handle, words, count, extra={**fields(handle), "status": words})
        for record in lost:
            _log.error(
                "lost with worker %d: %s, after %.3f s",
                handle.slot,
                record.request,
                record.age,
                extra={**fields(handle), "request": record.request, "age": round(record.age, 3)},
            )


def fields(handle: WorkerHandle) -> dict[str, object]:
    """Which worker a line is about, as fields of a JSON log."""
    return {"worker": {"slot": handle.slot, "generation": handle.generation, "pid": handle.pid}}


def report_boot_failure(who: str, message: BootFailed) -> None:
    """Log why an app could not start, as the process that tried told it."""
    if message.usage:
        _log.error("%s", message.traceback)
    else:
        _log.error("%s cannot boot:\n%s", who, message.traceback.rstrip())
