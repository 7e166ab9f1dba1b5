"""The master's hands on its workers: ordered from molds, heard, retired, forgotten. Why, is decided elsewhere."""

import logging
import os
import selectors
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

from prefork.control.happened import happened
from prefork.core.lifecycle import Event, State
from prefork.core.plan import Spawn
from prefork.core.roster import Roster, WorkerHandle
from prefork.errors import BindError
from prefork.messages import BootFailed, Described, Drain, HandBack, Leave, Message, Ready
from prefork.metrics import ours
from prefork.processes.handout import HandOut
from prefork.processes.holdings import Holdings
from prefork.processes.link import WorkerLink
from prefork.processes.molds import Molds
from prefork.processes.stacks import StacksLog
from prefork.processes.watchdog import kill
from prefork.system import process
from prefork.system.channel import Channel, ChannelClosed
from prefork.system.handoff import Passed

_log = logging.getLogger("prefork.supervisor")


class Overseer(Protocol):
    """Who decides about workers, and is told what becomes of them."""

    changed: bool  # set when something happened that planning should look at

    def worker_ready(self, link: WorkerLink) -> None:
        """It serves from now on."""

    def worker_cannot_boot(self, handle: WorkerHandle, message: BootFailed) -> None:
        """It has said why it will end."""

    def worker_leaves(self, handle: WorkerHandle, now: float) -> None:
        """It was told to go by somebody else."""


class Workers:
    """Does to workers what was decided, and hears them."""

    def __init__(
        self,
        overseer: Overseer,
        roster: Roster,
        links: dict[int, WorkerLink],
        handout: HandOut,
        molds: Molds,
        holdings: Holdings,
        stacks: StacksLog,
        selector: selectors.BaseSelector,
        max_connections: int,
    ) -> None:
        """`links` by serial are shared with `handout`, and kept here."""
        self.on_described: Callable[[WorkerLink, Described, list[int]], None] = _close_unwanted  # who asked for that
        self._overseer = overseer
        self._roster = roster
        self._links = links
        self._handout = handout
        self._molds = molds
        self._holdings = holdings
        self._stacks = stacks
        self._selector = selector
        self._max_connections = max_connections

    # -- from order to fork

    def spawn(self, step: Spawn, now: float) -> None:
        """Order a worker, if there is a mold to fork it."""
        mold = self._molds.ready_for(step.generation)
        if mold is None:
            return  # its app is being imported
        handle = self._roster.add(step.slot, step.generation, now)
        try:
            listeners = self._handout.listeners_of(step.slot)
            link = WorkerLink(handle, self._max_connections)
            link.accepts = bool(listeners)
        except (OSError, BindError) as error:
            _log.error("cannot start a worker for slot %d: %s", step.slot, error)
            self._roster.remove(handle)
            self.back_off(step.slot, None, now)
            return
        if not mold.order(link, listeners):
            self._roster.remove(handle)
            link.stacks.close()
            link.close()
            return
        self._links[handle.serial] = link
        self._selector.register(link.channel, selectors.EVENT_READ, partial(self.hear, link))
        self._stacks.watch(link.stacks, f"worker {step.slot} (generation {step.generation})")

    def forked(self, serial: int, pid: int) -> WorkerHandle | None:
        """What was ordered is process `pid`. Returns it; None when nobody wants it any more, and it is killed."""
        handle = self._roster.by_serial(serial)
        if handle is None:
            process.send_signal(pid, signal.SIGKILL)
            return None
        handle.pid = pid
        if handle.state is State.DRAINING:
            kill(handle)
        return handle

    def back_off(self, slot: int, lived: float | None, now: float) -> None:
        """The worker of a slot died `lived` seconds after it was ready (None: never was): the next may have to wait."""
        delay = self._roster.backoff(slot).died(lived, now)
        if delay:
            _log.warning("the worker of slot %d died young; the next one starts in %.1f s", slot, delay)

    # -- hearing

    def hear(self, link: WorkerLink) -> None:
        """Do what a worker has asked for."""
        try:
            while received := link.channel.receive():
                self._obey(link, *received, time.monotonic())
        except ChannelClosed:
            self._unregister(link.channel)  # death is told by waitpid
        except ValueError as error:  # not a message, or one that cannot be in its state: app code wrote to our channel
            _log.error(
                "%s said what it cannot say and is killed: %s",
                link.handle,
                error,
                extra=happened("killed", link.handle),
            )
            kill(link.handle)

    def _obey(self, link: WorkerLink, message: Message, descriptors: list[int], now: float) -> None:
        handle = link.handle
        self._overseer.changed = True
        if isinstance(message, HandBack):
            ours.handed_back.inc(len(descriptors))
            self._handout.dispatch([Passed(descriptor, message.listener) for descriptor in descriptors])
        elif isinstance(message, Ready):
            handle.apply(Event.REPORTED_READY)
            if handle.state is State.DRAINING:
                return  # it was let go as it booted, and is killed: its generation has not proved anything by that
            handle.ready_at = now
            self._overseer.worker_ready(link)
            _log.info("%s is ready", handle, extra=happened("ready", handle))
        elif isinstance(message, BootFailed):
            self._overseer.worker_cannot_boot(handle, message)
        elif isinstance(message, Described):
            self.on_described(link, message, descriptors)
        elif isinstance(message, Leave):
            self._overseer.worker_leaves(handle, now)
        else:
            self._holdings.obey(link, message, descriptors, now)

    # -- leaving

    def retire(self, handle: WorkerHandle, reason: str, now: float, seconds: float, hand_back: bool) -> None:
        """Let one finish what is in progress, for so many seconds at most; `hand_back` what is idle."""
        booting = handle.state is State.BOOTING
        handle.apply(Event.RETIRED)
        handle.retiring = handle.retiring or reason
        handle.drain_until = now + seconds
        self._overseer.changed = True
        if booting:
            kill(handle)
            return
        _log.info("%s drains: %s", handle, reason, extra=happened("drains", handle))
        link = self._links[handle.serial]
        link.channel.tell(Drain(hand_back, seconds))
        if hand_back:
            self._handout.take_back(link)

    def forget(self, handle: WorkerHandle) -> None:
        """It is gone, or never was: what it did not read goes to others."""
        link = self._links.pop(handle.serial)
        self._unregister(link.channel)
        self._holdings.worker_gone(link.channel, time.monotonic())
        self._stacks.forget(link.stacks)
        self._handout.dispatch(link.take_back())
        link.close()
        self._roster.remove(handle)
        self._overseer.changed = True

    def _unregister(self, channel: Channel) -> None:
        if channel in self._selector.get_map():
            self._selector.unregister(channel)


def _close_unwanted(link: WorkerLink, message: Described, descriptors: list[int]) -> None:
    """Nobody has asked."""
    for descriptor in descriptors:
        os.close(descriptor)
