"""The master's side of the molds: forking them, ordering workers from them, letting them go."""

import logging
import os
import selectors
import signal
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NoReturn

from prefork.control.happened import happened
from prefork.messages import Fork, ForkProcess, Message
from prefork.processes.child import fork_child
from prefork.processes.link import WorkerLink
from prefork.processes.places import Places
from prefork.processes.stacks import StacksLog, StacksPipe
from prefork.system.channel import Channel, ChannelClosed
from prefork.system.listeners import Listener

_log = logging.getLogger("prefork.molds")


@dataclass(eq=False)
class MoldHandle:
    """What was reported of one mold. Times are monotonic seconds."""

    generation: int
    ordered_at: float
    pid: int
    channel: Channel
    stacks: StacksPipe
    places: Places
    ready: bool = False
    explained: bool = False  # it has said why it cannot boot
    killed: bool = False
    released: bool = False

    def __str__(self) -> str:
        return f"mold (generation {self.generation}, pid {self.pid})"

    @property
    def booting(self) -> bool:
        return not self.ready and not self.killed

    def order(self, link: WorkerLink, listeners: list[Listener]) -> bool:
        """Order a worker. False when the mold cannot take orders any more."""
        handle = link.handle
        descriptors = [*link.worker_descriptors(), *(listener.socket.fileno() for listener in listeners)]
        place = self.places.take(handle.serial, "worker", handle.slot, handle.generation)
        order = Fork(handle.serial, handle.slot, handle.generation, place)
        try:
            return self._send(order, descriptors)
        finally:
            link.forget_worker_ends()

    def order_process(self, serial: int, slot: int | None, role: str, descriptors: Sequence[int]) -> bool:
        """Order a process for the worker of a slot, or for all. False when the mold cannot take orders any more."""
        place = self.places.take(serial, role, slot, self.generation)
        return self._send(ForkProcess(serial, slot, role, place), descriptors)

    def _send(self, order: Fork | ForkProcess, descriptors: Sequence[int]) -> bool:
        try:
            sent = self.channel.send(order, descriptors)
        except ChannelClosed:
            sent = False
        if not sent:
            self.places.not_forked(order.serial)
        return sent

    def send_signal(self, number: signal.Signals) -> None:
        """SIGABRT (faulthandler then writes its stacks) or SIGKILL. It is not reaped yet, so the pid is its own."""
        self.killed = True
        os.kill(self.pid, number)


class Molds:
    """The molds that live: one a generation, as long as workers of it do."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        stacks: StacksLog,
        places: Places,
        become: Callable[[int, str, Channel, int], NoReturn],
        hear: Callable[[MoldHandle, Message], None],
    ) -> None:
        """`become(generation, broken, channel, stacks)` runs in the child; `hear` gets what molds report."""
        self._selector = selector
        self._stacks = stacks
        self._places = places
        self._become = become
        self._hear = hear
        self._handles: list[MoldHandle] = []
        self.generation = 0  # of the last one

    def __iter__(self) -> Iterator[MoldHandle]:
        return iter(self._handles)

    def __bool__(self) -> bool:
        return bool(self._handles)

    @property
    def booting(self) -> bool:
        return any(mold.booting for mold in self._handles)

    def of_pid(self, pid: int) -> MoldHandle | None:
        return next((mold for mold in self._handles if mold.pid == pid), None)

    def ready_for(self, generation: int) -> MoldHandle | None:
        """The mold to order workers of that generation from."""
        molds = (mold for mold in self._handles if mold.ready and not mold.released)
        return next((mold for mold in molds if mold.generation == generation), None)

    def order_actor(self, serial: int, slot: int | None, generation: int, descriptors: Sequence[int]) -> bool:
        """Order an actor's process from the mold of a generation. False when there is none to take orders."""
        mold = self.ready_for(generation)
        return mold is not None and mold.order_process(serial, slot, "actor", descriptors)

    def fork(self, now: float, broken: str = "") -> None:
        """Fork the mold of the next generation; `broken` tells why it is to have an error page instead of the app.
        Raises OSError."""
        self.generation += 1
        pid, channel, pipe = fork_child(partial(self._become, self.generation, broken))
        mold = MoldHandle(self.generation, now, pid, channel, pipe, self._places)
        self._handles.append(mold)
        self._selector.register(channel, selectors.EVENT_READ, partial(self.listen, mold))
        self._stacks.watch(pipe, str(mold))

    def abandon_booting(self, generation: int | None = None) -> None:
        """End the molds that still import the app, or the one of that generation: what they import is not wanted any
        more."""
        for mold in self._handles:
            if mold.booting and generation in (None, mold.generation):
                mold.send_signal(signal.SIGKILL)
                self._forget(mold)

    def kill_idle(self, generation: int) -> None:
        """End the mold of a generation, which does not do what it is ordered to."""
        for mold in self._handles:
            if mold.generation == generation and not mold.killed:
                _log.error("%s does not fork and is killed", mold, extra=happened("killed"))
                mold.send_signal(signal.SIGKILL)

    def abort_late(self, now: float, boot_seconds: float) -> None:
        """End the molds that take too long to import the app."""
        for mold in self._handles:
            if mold.booting and now >= mold.ordered_at + boot_seconds:
                _log.error("%s did not import the app within %g s", mold, boot_seconds, extra=happened("killed"))
                mold.send_signal(signal.SIGABRT)

    def deadlines(self, boot_seconds: float) -> Iterator[float]:
        """When `abort_late` could next have something to do."""
        yield from (mold.ordered_at + boot_seconds for mold in self._handles if mold.booting)

    def release(self, needed: Collection[int]) -> None:
        """Let go of each mold whose generation is not needed, once it has booted: it ends when its channel does."""
        for mold in self._handles:
            if not mold.booting and not mold.released and mold.generation not in needed:
                self._forget(mold)

    def remove(self, mold: MoldHandle) -> bool:
        """It was reaped. Returns whether it had been let go."""
        if not mold.released:
            self.listen(mold)  # what it said last
        self._handles.remove(mold)
        expected = mold.released
        if not expected:
            self._forget(mold)
        return expected

    def listen(self, mold: MoldHandle) -> None:
        """Pass on what has come from a mold."""
        try:
            while not mold.released and (received := mold.channel.receive()):
                self._hear(mold, received[0])
        except ChannelClosed:
            if mold.channel in self._selector.get_map():
                self._selector.unregister(mold.channel)  # death is told by waitpid
        except ValueError as error:
            _log.error("%s said what it cannot say and is killed: %s", mold, error, extra=happened("killed"))
            mold.send_signal(signal.SIGKILL)

    def _forget(self, mold: MoldHandle) -> None:
        mold.released = True
        if mold.channel in self._selector.get_map():
            self._selector.unregister(mold.channel)
        self._stacks.forget(mold.stacks)
        mold.channel.close()
