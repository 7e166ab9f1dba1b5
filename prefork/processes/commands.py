"""What each command of the table does in a running server. Reading is `Snapshot`'s, doing is the supervisor's."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from msgspec import structs

from prefork.control.events import EventHandler
from prefork.control.happened import happened
from prefork.control.later import Later
from prefork.control.quantities import percent
from prefork.control.status import (
    ChildStatus,
    ConnectionsReport,
    Done,
    EventStatus,
    JobStatus,
    ServerStatus,
    WorkerStatus,
)
from prefork.core.roster import WorkerHandle
from prefork.errors import CommandError
from prefork.messages import LogLevel
from prefork.processes import snapshot
from prefork.processes.descriptions import Descriptions
from prefork.processes.family import Family
from prefork.processes.snapshot import Snapshot
from prefork.processes.stack_dumps import StackDumps
from prefork.processes.supervisor import Supervisor
from prefork.processes.watchdog import kill
from prefork.settings import SETTINGS, Settings, parse_workers
from prefork.system import cgroup

EVENTS: Final = 200  # of one answer, unless more are asked for
MOST_EVENTS: Final = 2000

_log = logging.getLogger("prefork.control")


class Master(snapshot.Master, Protocol):
    """What commands need of the master itself."""

    def stop(self, now: float, fast: bool) -> None:
        """End in order."""

    def upgrade(self, now: float) -> Later:
        """Have a new master take its place; answered when it does. Raises CommandError when that cannot be."""

    def drain(self, now: float) -> None:
        """Say no at /readyz and serve on."""


class Commands:
    """One method for each command, named as it is. They raise CommandError, and then have done nothing."""

    def __init__(
        self,
        settings: Settings,
        target: str,
        supervisor: Supervisor,
        status: Snapshot,
        events: EventHandler,
        dumps: StackDumps,
        descriptions: Descriptions,
        master: Master,
    ) -> None:
        self.in_force = settings  # as commands have changed them
        self._target = target
        self._supervisor = supervisor
        self._snapshot = status
        self._events = events
        self._dumps = dumps
        self._descriptions = descriptions
        self._family = Family(supervisor)
        self._master = master

    def run(self, name: str, arguments: Mapping[str, object]) -> object:
        """Run one whose arguments are checked. Returns its result, or a Later. Raises CommandError."""
        method: Callable[..., object] = getattr(self, name.replace("-", "_"))
        return method(**arguments)

    # -- read

    def status(self) -> ServerStatus:
        return self._snapshot.server()

    def workers(self) -> list[WorkerStatus]:
        return self._snapshot.workers(time.monotonic())

    def connections(self, requests: bool = False) -> ConnectionsReport | Later:
        found = self._snapshot.requests()
        if requests:
            return ConnectionsReport(requests=found, clients=[])
        return self._descriptions.ask(found, time.monotonic())

    def jobs(self) -> list[JobStatus]:
        return self._family.jobs(time.monotonic())

    def children(self) -> list[ChildStatus]:
        return self._family.children(time.monotonic())

    def settings(self) -> dict[str, object]:
        """By name, secrets masked; beside them the target."""
        values: dict[str, object] = {"target": self._target}
        for name, setting in SETTINGS.items():
            value = getattr(self.in_force, name)
            values[name] = setting.show(value) if setting.secret else value
        return values

    def events(self, since: int | None = None, limit: int = EVENTS) -> list[EventStatus]:
        return self._events.events.since(since, min(limit, MOST_EVENTS))

    def stacks(self, slot: int | None = None) -> Later:
        if slot is not None:
            self._of_slot(slot)
        return self._dumps.ask(self._family.stack_sources(slot), time.monotonic())

    # -- write

    def reload(self, canary: float | None = None) -> Done:
        self._refuse_if_stopping()
        now = time.monotonic()
        if canary is not None:
            self._supervisor.canary(canary, now)
            return Done(done=f"a canary reload begins: the new code gets {percent(canary)} of new connections")
        _log.info("reload: by command", extra=happened("reload"))
        self._supervisor.reload(now)
        return Done(done="the app is imported afresh; then the workers are replaced, one by one")

    def upgrade(self) -> Later:
        self._refuse_if_stopping()
        return self._master.upgrade(time.monotonic())

    def scale(self, workers: str) -> Done:
        self._refuse_if_stopping()
        try:
            limits = parse_workers(workers, cgroup.usable_cpus())
        except ValueError:
            raise CommandError(f"workers is N or MIN:MAX, from 1 to 1024, not {workers!r:.40}") from None
        self._supervisor.scale_to(limits.low, limits.high)
        wanted = self._supervisor.roster.wanted
        among = f", between {limits.low} and {limits.high}" if limits.low < limits.high else ""
        return Done(done=f"{wanted} worker{'' if wanted == 1 else 's'} wanted{among}")

    def retire(self, slot: int) -> Done:
        self._supervisor.retire(slot)
        return Done(done=f"the worker of slot {slot} drains once another one is ready")

    def kill(self, slot: int) -> Done:
        victims = [handle for handle in self._of_slot(slot) if handle.pid is not None]
        victims = [handle for handle in victims if handle.active] or victims
        if not victims:
            raise CommandError(f"the worker of slot {slot} is not forked yet")
        for handle in victims:
            _log.warning("%s is killed: by command", handle, extra=happened("killed", handle))
            kill(handle)
        return Done(done=f"{' and '.join(map(str, victims))} {'is' if len(victims) == 1 else 'are'} killed")

    def drain(self) -> Done:
        self._refuse_if_stopping()
        self._master.drain(time.monotonic())
        return Done(done="not ready for load balancers any more (/readyz); it serves on until it is told to stop")

    def stop(self, fast: bool = False) -> Done:
        if self._supervisor.stopping and not fast:
            raise CommandError("the server stops already; with --fast, everything is cut")
        _log.info("stop%s: by command", " --fast" if fast else "", extra=happened("stop"))
        self._master.stop(time.monotonic(), fast)
        return Done(done="open requests are cut" if fast else "open requests are finished, then it ends")

    def log_level(self, level: str) -> Done:
        self.in_force = structs.replace(self.in_force, log_level=level)
        self._events.set_level(level)
        self._supervisor.tell_all(LogLevel(level))
        return Done(done=f"the log begins with {level}, in offloaders and other children once they are forked anew")

    # -- ourselves

    def _refuse_if_stopping(self) -> None:
        if self._supervisor.stopping:
            raise CommandError("the server stops")

    def _of_slot(self, slot: int) -> list[WorkerHandle]:
        handles = self._supervisor.roster.of_slot(slot)
        if not handles:
            slots = sorted({handle.slot for handle in self._supervisor.roster})
            there = f"there are {', '.join(map(str, slots))}" if slots else "there are none now"
            raise CommandError(f"there is no worker in slot {slot}; {there}")
        return handles
