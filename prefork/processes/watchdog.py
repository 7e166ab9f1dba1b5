"""Perform what `core.health` decides: choose no worker that stalls, and end those that hang."""

import logging
import signal
from collections.abc import Iterator

from prefork.control.happened import happened
from prefork.core import health
from prefork.core.lifecycle import Event
from prefork.core.roster import Roster, WorkerHandle
from prefork.processes.handout import HandOut
from prefork.processes.link import WorkerLink
from prefork.settings import Settings
from prefork.system import process

_log = logging.getLogger("prefork.supervisor")


class Watchdog:
    """Looks at the heartbeats."""

    def __init__(self, settings: Settings, roster: Roster, links: dict[int, WorkerLink], handout: HandOut) -> None:
        """`links` by serial, kept by the caller."""
        self._settings = settings
        self._roster = roster
        self._links = links
        self._handout = handout
        self._blind_until = 0.0  # do not judge heartbeats before

    def look(self, now: float, late: float) -> None:
        """Judge everybody. `late` is how many seconds after its deadline the master's loop came round."""
        if late > self._settings.stall_seconds / 2:
            # We were not running ourselves, and perhaps nobody was: let hearts beat before judging them.
            self._blind_until = now + self._settings.stall_seconds
        if now >= self._blind_until:
            for action in health.examine(self._roster, self._beats(), now, self._settings):
                self._act(action, now)

    def deadlines(self, now: float) -> Iterator[float]:
        """When `look` could next have something to do, should nothing happen before."""
        if now < self._blind_until:
            yield self._blind_until
        else:
            yield from health.deadlines(self._roster, self._beats(), now, self._settings)

    def _act(self, action: health.Action, now: float) -> None:
        handle = action.handle
        if isinstance(action, health.Stall):
            handle.apply(Event.BEAT_LATE)
            taken = self._handout.take_back(self._links[handle.serial])
            stopped = " (the process is stopped)" if process.is_stopped(handle.pid) else ""
            _log.warning(
                "%s is stalled: its event loop has not turned for %.1f s%s; %d unread connections go to others",
                handle,
                action.late_seconds,
                stopped,
                taken,
                extra=happened("stalled", handle),
            )
            process.send_signal(handle.pid, process.STACKS_SIGNAL)
        elif isinstance(action, health.Recover):
            handle.apply(Event.BEAT_AGAIN)
            _log.info("%s runs again", handle, extra=happened("recovered", handle))
        elif isinstance(action, health.Abort):
            _log.error("%s is aborted: %s", handle, action.reason, extra=happened("killed", handle))
            handle.aborted_at = now
            process.send_signal(handle.pid, signal.SIGABRT)
        else:
            _log.error("%s is killed: %s", handle, action.reason, extra=happened("killed", handle))
            kill(handle)

    def _beats(self) -> dict[int, float]:
        return {serial: link.board.last_beat for serial, link in self._links.items()}


def kill(handle: WorkerHandle) -> None:
    """SIGKILL, once, to a worker that has been forked."""
    if not handle.killed and handle.pid is not None:
        handle.killed = True
        process.send_signal(handle.pid, signal.SIGKILL)
