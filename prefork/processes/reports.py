"""Say in the log how a worker ended, and which requests ended with it."""

import logging

from prefork.control.happened import happened
from prefork.core.lifecycle import State
from prefork.core.roster import WorkerHandle
from prefork.messages import BootFailed
from prefork.metrics import ours
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
        out_of_memory = self._oom.more()
        if not stopping:
            ours.worker_exits.labels(handle.slot, exit_reason(handle, status, out_of_memory)).inc()
        ours.lost_requests.inc(len(lost))
        if handle.state is State.DRAINING and status == 0 and not lost:
            _log.info("%s has drained", handle, extra=happened("drained", handle))
            return
        words = process.exit_words(status)
        if out_of_memory:
            words += ", killed for lack of memory (out-of-memory kill in its cgroup)"
        level = logging.INFO if (stopping or handle.killed) and not lost else logging.ERROR
        count = f"; {len(lost)} request{'s' if len(lost) > 1 else ''} lost" if lost else ""
        _log.log(level, "%s died: %s%s", handle, words, count, extra=happened("died", handle, status=words))
        for record in lost:
            _log.error(
                "lost with worker %d: %s, after %.3f s",
                handle.slot,
                record.request,
                record.age,
                extra=happened("lost", handle, request=record.request, age=round(record.age, 3)),
            )


def exit_reason(handle: WorkerHandle, status: int, out_of_memory: bool) -> str:
    """Why a worker ended, in few words of which there are not many. `status` as waitpid gives it."""
    if handle.aborted_at is not None:
        return "hang"
    if out_of_memory:
        return "out of memory"
    if handle.retiring:
        return handle.retiring
    if handle.ready_at is None:
        return "boot"
    return process.exit_words(status)


def report_boot_failure(who: str, message: BootFailed) -> None:
    """Log why an app could not start, as the process that tried told it."""
    if message.usage:
        _log.error("%s", message.traceback)
    else:
        _log.error("%s cannot boot:\n%s", who, message.traceback.rstrip())
