"""What /metrics tells: what all processes have counted, and what is seen by looking at them."""

import os
import platform
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from prefork import __version__
from prefork.control.status import ServerStatus
from prefork.metrics import ours
from prefork.metrics.families import Family, Reader
from prefork.metrics.rendering import exposition
from prefork.system.ledger import Ledger, Tenant
from prefork.system.usage import proportional, usage

__all__ = ["Exposition", "exposition"]

PROPORTIONAL_SECONDS: Final = 5.0  # how old these numbers may be: each costs the kernel a walk through all mappings
NO_SLOT: Final = ""  # the label of a process that belongs to no slot

Where = tuple[str, str]  # role and slot, as labels


class Exposition:
    """Reads a ledger again and again."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._reader = Reader()
        self._turn = threading.Lock()
        self._cpu: dict[Where, float] = {}
        self._cpu_of: dict[int, tuple[float, float]] = {}  # pid: when it started, and what it had used
        self._proportional: dict[Where, float] = {}
        self._proportional_at = float("-inf")

    def text(self, openmetrics: bool, status: ServerStatus | None, now: float) -> bytes:
        """As Prometheus reads it, or as OpenMetrics. `status` is the server's, as the master has told it last; `now` in
        monotonic seconds. Threads take turns. Raises UsageError without prometheus-client."""
        with self._turn:
            return exposition(self.families(status, now), openmetrics)

    def families(self, status: ServerStatus | None, now: float) -> Sequence[Family]:
        """All metrics."""
        places = list(self._ledger.places())
        found = self._reader.gather(places)
        tenants = [place.tenant for place in places if place.tenant.pid]
        tenants += [Tenant(mold.pid, "mold", -1, mold.generation) for mold in (status.molds if status else ())]
        if os.getpid() not in {tenant.pid for tenant in tenants}:
            tenants.append(Tenant(os.getpid(), "admin", -1, -1))
        for family in (_build_info(), *self._used(tenants, now), _processes(tenants, status)):
            found[family.declaration.name] = family
        if status is not None:
            flight = Family(ours.in_flight.declaration)
            for worker in status.workers:
                labels = (str(worker.slot),)
                flight.series[labels] = [flight.series.get(labels, [0.0])[0] + worker.in_flight]
            found[flight.declaration.name] = flight
        return list(found.values())

    def _used(self, tenants: Sequence[Tenant], now: float) -> Iterable[Family]:
        """What the processes use. Processor time only grows, so it is added up here: the sum over those that live would
        fall with each that ends."""
        resident: Counter[Where] = Counter()
        seen: dict[int, tuple[float, float]] = {}
        for tenant in tenants:
            used, where = usage(tenant.pid), _where(tenant)
            if used is None:
                continue
            resident[where] += used.rss
            started, before = self._cpu_of.get(tenant.pid, (used.started, 0.0))
            more = used.cpu - (before if started == used.started else 0.0)
            self._cpu[where] = self._cpu.get(where, 0.0) + max(0.0, more)
            seen[tenant.pid] = used.started, used.cpu
        self._cpu_of = seen
        if now >= self._proportional_at + PROPORTIONAL_SECONDS:
            self._proportional_at = now
            taken: Counter[Where] = Counter()
            for tenant in tenants:
                taken[_where(tenant)] += proportional(tenant.pid) or 0
            self._proportional = dict(taken)
        yield Family(ours.resident.declaration, {where: [number] for where, number in resident.items()})
        yield Family(ours.proportional.declaration, {where: [number] for where, number in self._proportional.items()})
        yield Family(ours.cpu.declaration, {where: [number] for where, number in self._cpu.items()})


def _where(tenant: Tenant) -> Where:
    return tenant.role, NO_SLOT if tenant.slot < 0 else str(tenant.slot)


def _build_info() -> Family:
    return Family(ours.build_info.declaration, {(__version__, platform.python_version()): [1.0]})


def _processes(tenants: Sequence[Tenant], status: ServerStatus | None) -> Family:
    """Of workers and molds the master knows more than the ledger."""
    counts: Counter[tuple[str, str]] = Counter()
    for tenant in tenants:
        if tenant.role != "mold" and (status is None or tenant.role != "worker"):
            counts[tenant.role, "running"] += 1
    if status is not None:
        counts.update(("worker", worker.state) for worker in status.workers)
        counts.update(("mold", "ready" if mold.ready else "booting") for mold in status.molds)
    return Family(ours.processes.declaration, {labels: [number] for labels, number in counts.items()})
