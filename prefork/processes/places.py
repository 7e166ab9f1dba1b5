"""Give each process that is forked from a mold its place in the ledger, and take it back when the process is gone.

A place stays with its role and slot: the next process there goes on counting, and a restart loses nothing.
"""

import os
from collections.abc import Iterator
from typing import Final

from prefork.metrics import counting
from prefork.system import ledger
from prefork.system.ledger import Ledger, Place, Tenant

NOWHERE: Final = -1  # no place: such a process counts for itself
NONE: Final = -1  # in the place of a slot or generation


class Places:
    """The master's side of the ledger. The first place is its own."""

    def __init__(self, wanted: bool) -> None:
        """Not `wanted`: there is no ledger (--no-metrics)."""
        self.descriptor: int | None = ledger.create() if wanted else None
        self.ledger = None if self.descriptor is None else Ledger(self.descriptor)
        self._of: dict[tuple[str, int], list[Place]] = {}  # by role and slot
        self._count = 0
        self._ordered: dict[int, tuple[Place, Tenant]] = {}  # by serial
        self._tenants: dict[int, Place] = {}  # by pid
        if self.descriptor is not None:
            own = self._add("master", NONE)
            own.let(Tenant(os.getpid(), "master", NONE, NONE))
            counting.adopt(own)

    def __iter__(self) -> Iterator[Place]:
        """Every place that was ever given."""
        return (place for places in self._of.values() for place in places)

    def take(self, serial: int, role: str, slot: int | None, generation: int) -> int:
        """The index of a place for what is ordered as `serial`."""
        if self.descriptor is None:
            return NOWHERE
        where = NONE if slot is None else slot
        taken = {place.index for place, _ in self._ordered.values()} | {place.index for place in self._tenants.values()}
        free = next((place for place in self._of.get((role, where), ()) if place.index not in taken), None)
        if free is None:
            if self._count == ledger.PLACES:
                return NOWHERE
            free = self._add(role, where)
        self._ordered[serial] = free, Tenant(0, role, where, generation)
        return free.index

    def forked(self, serial: int, pid: int) -> None:
        """What was ordered is process `pid`."""
        if serial in self._ordered:
            place, tenant = self._ordered.pop(serial)
            place.let(Tenant(pid, tenant.role, tenant.slot, tenant.generation))
            self._tenants[pid] = place

    def not_forked(self, serial: int) -> None:
        """And never will be."""
        self._ordered.pop(serial, None)

    def mold_gone(self, generation: int) -> None:
        """What it was ordered to fork and has not forked will never be."""
        for serial in [serial for serial, (_, tenant) in self._ordered.items() if tenant.generation == generation]:
            del self._ordered[serial]

    def gone(self, pid: int) -> None:
        """A process was reaped."""
        place = self._tenants.pop(pid, None)
        if place is not None:
            place.clear()

    def of(self, pid: int) -> Place | None:
        """The place of a process that lives."""
        return self._tenants.get(pid)

    def _add(self, role: str, where: int) -> Place:
        assert self.ledger is not None
        place = self.ledger.place(self._count)
        place.let(Tenant(0, role, where, NONE))  # readers know by this that there is one
        self._count += 1
        self._of.setdefault((role, where), []).append(place)
        return place


def adopt(descriptor: int | None, index: int, generation: int | None = None) -> None:
    """Count in that place of the ledger from now on, as a forked process. The descriptor is not the caller's any more.
    Without a place of its own such a process counts for itself."""
    if descriptor is None or index == NOWHERE:
        counting.adopt(None, descriptor)
    else:
        place = ledger.place_of(descriptor, index)
        counting.adopt(place, descriptor, NONE if generation is None else generation)
