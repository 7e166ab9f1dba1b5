"""Processes that belong to a worker, and their end: a signal for all that they started, and the news for their owner.

Offloaders are such, and the Python processes that app code forks.
"""

import logging
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from prefork.messages import EndProcess, Message, ProcessForked, ProcessGone, WantProcess
from prefork.processes.link import WorkerLink
from prefork.processes.molds import MoldHandle
from prefork.system import cgroup, process

ORPHAN_SECONDS: Final = 1.0  # what one gets between SIGTERM and SIGKILL when its worker has died

_log = logging.getLogger("prefork.owned")


class Owner(Protocol):
    """Whose processes they are: a worker, at the other end of its channel; or who minds those of all."""

    def tell(self, message: Message) -> None:
        """What became of one of them."""


@dataclass(eq=False)
class OwnedProcess:
    """What was reported of one process. `number` is what its owner calls it, among those of that role."""

    serial: int
    owner: Owner
    role: str
    number: int
    generation: int  # of its mold
    ordered_at: float  # monotonic seconds
    slot: int | None = None  # of its worker; None: it is for all, or its owner knows
    stacks: int | None = None  # descriptor of the file that its faulthandler writes to, ours
    pid: int | None = None
    reaped: bool = False  # what is left is its process group
    ended: bool = False  # its end was ordered, and begins once it is forked
    grace: float = 0.0
    kill_at: float | None = None  # monotonic seconds


class OwnedProcesses:
    """The processes that were ordered and are not gone, with their process groups."""

    def __init__(self) -> None:
        self._handles: dict[int, OwnedProcess] = {}  # by serial
        self._oom = cgroup.OomKills()

    def __bool__(self) -> bool:
        return bool(self._handles)

    def __iter__(self) -> Iterator[OwnedProcess]:
        return iter(self._handles.values())

    def add(self, serial: int, owner: Owner, wanted: WantProcess, generation: int, now: float) -> None:
        """One is ordered."""
        self._handles[serial] = OwnedProcess(serial, owner, wanted.role, wanted.number, generation, now)

    def order(
        self,
        mold: MoldHandle | None,
        serial: int,
        link: WorkerLink,
        wanted: WantProcess,
        descriptors: list[int],
        now: float,
    ) -> None:
        """Order one from the mold of its worker's generation, with `descriptors`, which are closed here."""
        owner = link.handle
        self.add(serial, link.channel, wanted, owner.generation, now)
        self._handles[serial].slot = owner.slot
        self._handles[serial].stacks = os.dup(descriptors[1]) if len(descriptors) > 1 else None
        if mold is None or not mold.order_process(serial, owner.slot, wanted.role, descriptors):
            self.not_forked(serial, f"there is no mold of generation {owner.generation} to fork it from")
        for descriptor in descriptors:
            os.close(descriptor)

    def forked(self, serial: int, pid: int, now: float) -> bool:
        """One that was ordered is process `pid`, the leader of its group. Returns whether it was one of ours."""
        handle = self._handles.get(serial)
        if handle is None:
            return False
        handle.pid = pid
        _log.debug("%s %d is process %d", handle.role, handle.number, pid)
        handle.owner.tell(ProcessForked(handle.role, handle.number, pid))
        if handle.ended:
            self._terminate(handle, now)
        return True

    def not_forked(self, serial: int, reason: str) -> bool:
        """One could not be forked. Returns whether it was one of ours."""
        handle = self._forget(serial)
        if handle is not None:
            handle.owner.tell(ProcessGone(handle.role, handle.number, None, reason=reason))
        return handle is not None

    def mold_gone(self, generation: int) -> None:
        """What it was ordered to fork and has not forked will never be."""
        for handle in [h for h in self._handles.values() if h.pid is None and h.generation == generation]:
            self.not_forked(handle.serial, "its mold has died")

    def unforked(self, before: float) -> Iterator[int]:
        """The generations of those that were ordered before that time and are not forked yet."""
        return (h.generation for h in self._handles.values() if h.pid is None and h.ordered_at <= before)

    def reaped(self, pid: int, status: int) -> bool:
        """A process was reaped. Returns whether it was one of ours; `status` as waitpid gives it."""
        handle = next((h for h in self._handles.values() if h.pid == pid and not h.reaped), None)
        if handle is None:
            return False
        handle.reaped = True
        _close_stacks(handle)
        _log.debug("%s %d (pid %d) ended: %s", handle.role, handle.number, pid, process.exit_words(status))
        handle.owner.tell(ProcessGone(handle.role, handle.number, status, self._oom.more()))
        # As long as it has members, the group's number is not given to anybody else (setpgid(2)).
        if handle.kill_at is None or not process.end_group(pid, 0):
            process.end_group(pid, signal.SIGKILL)
            self._forget(handle.serial)
        return True

    def end(self, owner: Owner, order: EndProcess, now: float) -> None:
        """End one, with its group: SIGTERM, and SIGKILL after the order's grace; without grace, nothing but SIGKILL."""
        for handle in self._handles.values():
            if handle.owner is owner and (handle.role, handle.number) == (order.role, order.number):
                self._end(handle, order.grace, now)

    def end_owned(self, owner: Owner, now: float) -> None:
        """Their owner is gone: end them all."""
        for handle in self._handles.values():
            if handle.owner is owner:
                self._end(handle, ORPHAN_SECONDS, now)

    def tick(self, now: float) -> None:
        """Kill what is still there after its grace."""
        for handle in [h for h in self._handles.values() if h.kill_at is not None and now >= h.kill_at]:
            assert handle.pid is not None
            process.end_group(handle.pid, signal.SIGKILL)
            handle.kill_at = None
            if handle.reaped:
                self._forget(handle.serial)

    def deadlines(self) -> Iterator[float]:
        """When `tick` has something to do."""
        yield from (handle.kill_at for handle in self._handles.values() if handle.kill_at is not None)

    def kill_all(self) -> None:
        """End them all at once."""
        for handle in self._handles.values():
            if handle.pid is not None:
                process.end_group(handle.pid, signal.SIGKILL)

    def _forget(self, serial: int) -> OwnedProcess | None:
        handle = self._handles.pop(serial, None)
        if handle is not None:
            _close_stacks(handle)
        return handle

    def _end(self, handle: OwnedProcess, grace: float, now: float) -> None:
        if handle.ended and grace >= handle.grace:
            return
        handle.ended, handle.grace = True, grace
        if handle.pid is not None:
            self._terminate(handle, now)

    def _terminate(self, handle: OwnedProcess, now: float) -> None:
        assert handle.pid is not None
        if handle.grace:  # else SIGKILL comes at once, and of two signals it would be chance which one is told
            process.end_group(handle.pid, signal.SIGTERM)
            process.end_group(handle.pid, signal.SIGCONT)  # one that is stopped would not see it
        handle.kill_at = now + handle.grace


def _close_stacks(handle: OwnedProcess) -> None:
    """It writes there no more: nobody can ask for them."""
    if handle.stacks is not None:
        os.close(handle.stacks)
        handle.stacks = None
