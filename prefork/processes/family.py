"""What descends from workers: jobs and children, from the workers' sheets and the master's own books."""

import time
from collections.abc import Iterator
from typing import Final

from prefork.control.status import ChildStatus, JobStatus
from prefork.core.lifecycle import State
from prefork.processes.sheet_rows import Rows, decode
from prefork.processes.stack_dumps import Source
from prefork.processes.supervisor import Supervisor
from prefork.system.usage import usage

ANSWERED: Final = 2000  # jobs of one answer, the oldest first


class Family:
    """Reads; changes nothing."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    def jobs(self, now: float) -> list[JobStatus]:
        """Those that run first, then those that wait, the oldest first."""
        found = [
            JobStatus(
                slot=slot,
                number=row.number,
                name=row.name,
                state=row.state,
                age=max(0.0, now - row.submitted_at),
                runs=max(0.0, now - row.given_at) if row.given_at else 0.0,
                pid=row.pid,
                actor=row.actor or None,
                request=row.request,
            )
            for slot, rows in self._sheets()
            for row in rows.jobs
        ]
        return sorted(found, key=lambda job: (not job.runs, -job.runs, -job.age))[:ANSWERED]

    def children(self, now: float) -> list[ChildStatus]:
        """By slot, role and age."""
        sheets = list(self._sheets())
        names: dict[tuple[int | None, int], str] = {
            (slot, row.number): row.name for slot, rows in sheets for row in rows.children if row.role == "child"
        }
        found = [
            _child(slot, "program", row.pid, row.name, None, now)
            for slot, rows in sheets
            for row in rows.children
            if row.role == "program"
        ]
        for owned in self._supervisor.owned:
            if owned.role != "actor":
                name = names.get((owned.slot, owned.number), f"{owned.role} {owned.number}")
                name = name if owned.role == "child" else f"{owned.role} {owned.number}"
                found.append(_child(owned.slot, owned.role, owned.pid, name, owned.ordered_at, now))
        for actor in self._supervisor.actors:
            place = actor.place
            found.append(_child(actor.actor.slot, "actor", actor.pid, actor.actor.name, place.ordered_at, now))
        return sorted(found, key=lambda child: (-1 if child.slot is None else child.slot, child.role, -child.age))

    def stack_sources(self, slot: int | None) -> list[Source]:
        """Who can write its stacks: workers that live, of one slot or of all, their offloaders, and actors."""
        supervisor = self._supervisor
        found = [
            Source(handle.slot, "worker", handle.pid, str(handle), pipe=supervisor.links[handle.serial].stacks)
            for handle in sorted(supervisor.roster, key=lambda handle: (handle.slot, handle.serial))
            if handle.pid is not None
            and handle.serial in supervisor.links
            and handle.state is not State.GONE
            and slot in (None, handle.slot)
        ]
        for owned in supervisor.owned:
            if owned.role == "offloader" and owned.pid is not None and not owned.reaped and slot in (None, owned.slot):
                name = f"offloader {owned.number} of worker {owned.slot}"
                found.append(Source(owned.slot, owned.role, owned.pid, name, file=owned.stacks))
        for actor in supervisor.actors:
            its = actor.actor.slot
            if actor.introduced and actor.pid is not None and (slot is None or its in (None, slot)):
                found.append(Source(its, "actor", actor.pid, f"actor {actor.actor.name}", file=actor.stacks))
        return found

    def _sheets(self) -> Iterator[tuple[int, Rows]]:
        links = sorted(self._supervisor.links.values(), key=lambda link: (link.handle.slot, link.handle.serial))
        for link in links:
            yield link.handle.slot, decode(link.sheet.read())


def _child(
    slot: int | None, role: str, pid: int | None, name: str, ordered_at: float | None, now: float
) -> ChildStatus:
    """`ordered_at` in monotonic seconds; None: the kernel knows since when it runs."""
    used = None if pid is None else usage(pid)
    if ordered_at is None and used is not None:
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - used.started
    else:
        age = now - (now if ordered_at is None else ordered_at)
    return ChildStatus(
        slot=slot,
        role=role,
        pid=pid,
        name=name,
        age=max(0.0, age),
        rss=0 if used is None else used.rss,
        cpu=0.0 if used is None else used.cpu,
    )
