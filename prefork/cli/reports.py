"""What the commands that read print for people: each takes what the server told, and gives text."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from prefork.cli.tables import table
from prefork.control.history import lag
from prefork.control.quantities import count, duration, percent, size
from prefork.control.status import (
    ChildStatus,
    ConnectionsReport,
    EventStatus,
    JobStatus,
    ServerStatus,
    StackStatus,
    WorkerStatus,
)
from prefork.settings import GROUPS, SETTINGS


def status(found: ServerStatus, width: int | None) -> str:
    """`prefork status`."""
    up = duration(found.now - found.started_at)
    ready = sum(worker.state == "ready" for worker in found.workers)
    scale = f" ({found.low} to {found.high})" if found.low < found.high else ""
    asked = sum(slot.requests for slot in found.slots)
    errors = sum(slot.errors for slot in found.slots)
    seconds = sum(slot.seconds for slot in found.slots)
    mean = f", {duration(seconds / asked)} each" if asked else ""
    open_now, jobs = found.connections, found.jobs
    ended = ", ".join(f"{count(number)} {how}" for how, number in sorted(jobs.ended.items()) if number)
    restarts = sum(slot.restarts for slot in found.slots)
    lines = [
        ("server", f"{found.name}: {found.state}, prefork {found.version}, pid {found.pid}, up {up}"),
        ("target", f"{found.target}, generation {found.generation}"),
        ("address", ", ".join(found.addresses)),
        ("admin", found.admin or "none"),
        ("workers", f"{ready} ready, {found.wanted} wanted{scale}, {restarts} started again; {found.cpus} CPUs"),
        ("requests", f"{count(asked)} answered, {count(errors)} with 5xx{mean}"),
        (
            "connections",
            f"{count(open_now.open)} open, {count(open_now.waiting)} waiting; {count(open_now.accepted)} accepted, "
            f"{count(open_now.refused)} refused",
        ),
        (
            "passed on",
            f"{count(open_now.taken_back)} unread ones taken back, {count(open_now.handed_back)} idle ones handed back",
        ),
        (
            "jobs",
            f"{count(jobs.waiting)} waiting, {count(jobs.running)} running, {jobs.offloaders} offloaders"
            + (f"; {ended}" if ended else ""),
        ),
    ]
    if found.canary is not None:
        trial = found.canary
        left = f"{duration(trial.left)} left" if trial.state == "serving" else trial.state
        lines.append(("canary", f"generation {trial.generation} gets {percent(trial.share)}, {left}"))
    if found.lost_lines:
        lost = f"{count(found.lost_lines)} line{'' if found.lost_lines == 1 else 's'} lost"
        lines.append(("log", f"{lost}: the disk is full, or nobody reads them"))
    if found.upgrading:
        lines.append(("upgrade", "another master is about to take over"))
    head = "\n".join(f"{name:<12} {text}" for name, text in lines)
    return head + "\n\n" + workers(found.workers, width)


def workers(found: Sequence[WorkerStatus], width: int | None) -> str:
    """`prefork workers`."""
    heads = ("SLOT", "GEN", "PID", "<STATE", "AGE", "CONN", "REQ", "OLDEST", "BUSY", "LAG", "RSS", "CPU", "<NOTE")
    rows = [
        (
            str(worker.slot),
            str(worker.generation),
            str(worker.pid or "-"),
            worker.state,
            duration(worker.age),
            count(worker.connections),
            count(worker.in_flight),
            duration(worker.oldest) if worker.in_flight else "-",
            f"{worker.busy:.0%}",
            duration(lag(worker)),
            size(worker.rss),
            duration(worker.cpu),
            ", ".join(filter(None, ["canary" if worker.canary else "", worker.retiring, _silence(worker)])),
        )
        for worker in found
    ]
    return table(heads, rows, width, gap=" ")


def connections(found: ConnectionsReport, width: int | None) -> str:
    """`prefork connections`."""
    parts = []
    if found.requests:
        rows = [(str(one.slot), str(one.pid or "-"), duration(one.age), one.request) for one in found.requests]
        parts.append("Requests in flight\n" + table(("SLOT", "PID", "AGE", "<REQUEST"), rows, width))
    else:
        parts.append("No request in flight")
    if found.clients:
        heads = ("SLOT", "<CLIENT", "<STATE", "AGE", "IDLE", "REQUESTS", "<REQUEST")
        clients = [
            (
                str(one.slot),
                one.client,
                one.state,
                duration(one.age),
                duration(one.idle) if one.idle else "-",
                count(one.requests),
                one.request or "",
            )
            for one in found.clients
        ]
        parts.append("Open connections\n" + table(heads, clients, width))
    elif not found.silent:
        parts.append("No open connection")
    if found.left_out:
        parts.append(f"… and {found.left_out} more connections")
    if found.silent:
        slots = ", ".join(map(str, found.silent))
        parts.append(f"The workers of these slots did not tell of their connections: {slots} (blocked, see stacks)")
    return "\n\n".join(parts)


def jobs(found: Sequence[JobStatus], width: int | None) -> str:
    """`prefork jobs`."""
    if not found:
        return "No job waits or runs"
    rows = [
        (
            str(job.slot),
            str(job.number),
            job.state,
            duration(job.age),
            duration(job.runs) if job.runs else "-",
            str(job.pid or "-"),
            f"{job.name} (actor)" if job.actor else job.name,
        )
        for job in found
    ]
    return table(("SLOT", "JOB", "<STATE", "AGE", "RUNS", "PID", "<FUNCTION"), rows, width)


def children(found: Sequence[ChildStatus], width: int | None) -> str:
    """`prefork children`."""
    if not found:
        return "No offloader, program, fork or actor"
    rows = [
        (
            "all" if child.slot is None else str(child.slot),
            child.role,
            str(child.pid or "-"),
            duration(child.age),
            size(child.rss),
            duration(child.cpu),
            child.name,
        )
        for child in found
    ]
    return table(("SLOT", "<ROLE", "PID", "AGE", "RSS", "CPU", "<NAME"), rows, width)


def events(found: Sequence[EventStatus]) -> str:
    """`prefork events`: as in the log, oldest first."""
    return "\n".join(event(one) for one in found) if found else "No event"


def event(one: EventStatus) -> str:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one.at))
    text = one.text.replace("\n", "\n    ")
    return f"{when} {one.level:<8} {one.source.removeprefix('prefork.')}: {text}"


def stacks(found: Sequence[StackStatus]) -> str:
    """`prefork stacks`."""
    return "\n\n".join(
        f"{one.name}{'' if f'pid {one.pid}' in one.name else f' (pid {one.pid})'}\n{one.text}" for one in found
    )


def settings(found: Mapping[str, Any]) -> str:
    """`prefork settings --running`."""
    rows = {
        name: SETTINGS[name].show(value) if name in SETTINGS and not SETTINGS[name].secret else str(value)
        for name, value in found.items()
    }
    first = max(map(len, rows))
    groups = {"Target": ["target"]} | {
        title: [name for name, setting in SETTINGS.items() if setting.group == group] for group, title in GROUPS.items()
    }
    lines: list[str] = []
    for title, names in groups.items():
        lines += ["", title, *(f"  {name:<{first}}  {rows[name]}" for name in names if name in rows)]
    return "\n".join(lines[1:])


def _silence(worker: WorkerStatus) -> str:
    late = worker.beat_age is not None and worker.beat_age >= 1.0
    return f"no heartbeat for {duration(worker.beat_age)}" if late else ""
