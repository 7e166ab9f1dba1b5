"""Keep the wanted workers alive: order them from molds, watch them, retire, kill and reap them."""

import logging
import selectors
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NoReturn

from prefork.core import plan as planning
from prefork.core.lifecycle import Event, State
from prefork.core.roster import Roster, WorkerHandle
from prefork.errors import BindError, BootError, UsageError
from prefork.messages import (
    BootFailed,
    Changed,
    Drain,
    EndProcess,
    Forked,
    HandBack,
    Leave,
    Message,
    MoldReady,
    NotForked,
    Ready,
    ReopenLogs,
    WantProcess,
    WantShared,
)
from prefork.processes.actors import Actors
from prefork.processes.breakage import Breakage
from prefork.processes.failed_boots import FailedBoots
from prefork.processes.generations import Generations
from prefork.processes.handout import HandOut
from prefork.processes.link import WorkerLink
from prefork.processes.molds import MoldHandle, Molds
from prefork.processes.owned import OwnedProcesses
from prefork.processes.places import Places
from prefork.processes.reports import DeathReports
from prefork.processes.shared import SharedRegions
from prefork.processes.stacks import StacksLog
from prefork.processes.strangers import Strangers
from prefork.processes.watch import Watch, drain_seconds
from prefork.processes.watchdog import Watchdog, kill
from prefork.settings import Settings
from prefork.system import process
from prefork.system.channel import Channel, ChannelClosed
from prefork.system.handoff import Passed

_log = logging.getLogger("prefork.supervisor")


class Supervisor:
    """The master's hands on its children. What to do is decided in `core`; here it is done."""

    def __init__(
        self,
        settings: Settings,
        workers: int,
        links: dict[int, WorkerLink],
        handout: HandOut,
        places: Places,
        selector: selectors.BaseSelector,
        max_connections: int,
        become_mold: Callable[[int, str, Channel, int], NoReturn],
        become_watcher: Callable[[float, Channel, int], NoReturn],
    ) -> None:
        """`links` by serial are shared with `handout`, and kept here; `become_mold` and `become_watcher` are what
        `Molds` and `Watch` run in a child."""
        self.roster = Roster(workers)
        self.exit_code = 0
        self.changed = False  # something happened that planning should look at
        self._settings = settings
        self._drain_seconds = drain_seconds(settings)
        self.links = links
        self.handout = handout
        self._selector = selector
        self._max_connections = max_connections
        self._stacks = StacksLog(selector)
        self.places = places
        self.molds = Molds(selector, self._stacks, places, become_mold, self._obey_mold)
        self.generations = Generations(self.roster, self.molds)
        self.owned = OwnedProcesses()
        self.actors = Actors(
            self.owned, selector, self.roster.next_serial, self.molds.order_actor, settings.boot_seconds
        )
        self._shared = SharedRegions()
        self._reports = DeathReports()
        self.watchdog = Watchdog(settings, self.roster, links, handout)
        self._breakage = Breakage(links, settings.reload)
        self._failed_boots = FailedBoots(
            self.roster,
            self.generations,
            self._breakage,
            settings.reload,
            lambda handle, now: self._retire(handle, "reload", now, self._drain_seconds, hand_back=True),
            lambda slot, now: self._back_off(slot, None, now),
            self._give_up,
        )
        self._watch = Watch(selector, self._stacks, settings.reload, become_watcher, self._files_changed)
        self._stopping = False
        self._strangers = Strangers()

    # -- what the master's loop asks

    @property
    def finished(self) -> bool:
        """Whether everybody is gone, as it should be."""
        left = self.roster.handles or self.molds or self.owned or self._watch
        return self._stopping and not left

    def start(self, now: float) -> None:
        """Order the first mold; the rest follows from what it reports."""
        self.changed = True
        self._watch.tend(now)
        if not self.generations.fork(now):
            self._give_up()

    def tick(self, now: float, late: float) -> None:
        """Look at everybody and do what is due. `late` is how many seconds after its deadline the loop came round."""
        self.changed = False
        self.watchdog.look(now, late)
        self._stacks.write_quiet(now)
        self.owned.tick(now)
        self.actors.tick(now, None if self._stopping else self.roster.generation)
        self.molds.abort_late(now, self._settings.boot_seconds)
        for generation in self._unforked(now - self._settings.boot_seconds):
            self.molds.kill_idle(generation)
        self._watch.tend(now)
        if not self._stopping:
            self.generations.tend(now)
            for step in planning.plan(self.roster, now):
                if isinstance(step, planning.Spawn):
                    self._spawn(step, now)
                else:
                    self._retire(step.handle, step.reason, now, self._drain_seconds, hand_back=True)
        in_use = {handle.generation for handle in self.roster}
        self.molds.release(in_use if self._stopping else in_use | {self.roster.generation})
        self._shared.release(in_use | {self.roster.generation, *(mold.generation for mold in self.molds)})

    def deadlines(self, now: float) -> Iterator[float]:
        """When `tick` could next have something to do, should nothing happen before."""
        yield from self.watchdog.deadlines(now)
        yield from self._watch.deadlines(now)
        yield from self._stacks.deadlines()
        yield from self.owned.deadlines()
        yield from self.actors.deadlines(now)
        yield from self.molds.deadlines(self._settings.boot_seconds)
        if not self._stopping:
            yield from planning.deadlines(self.roster, now)
            yield from self.generations.deadlines(now)

    def reload(self, now: float) -> None:
        """Import the app afresh and replace the workers, slot by slot."""
        if not self._stopping:
            self.generations.reload(now)
            self.changed = True

    def scale(self, by: int) -> None:
        """Want so many workers more, or fewer; at least one."""
        self.roster.wanted = max(1, self.roster.wanted + by)
        self.changed = True
        _log.info("scaling to %d workers", self.roster.wanted)

    def stop(self, now: float, fast: bool) -> None:
        """Let everybody finish what is in progress; `fast`: cut it."""
        self._stopping = self.changed = True
        for handle in self.roster.in_state(State.STALLED):
            self.handout.take_back(self.links[handle.serial])
        self.handout.settle()
        self._watch.end()
        seconds = 0.0 if fast else self._settings.drain_seconds
        for handle in list(self.roster):
            self._retire(handle, "stop", now, seconds, hand_back=False)
        for mold in self.molds:
            if not mold.ready:
                mold.send_signal(signal.SIGKILL)

    def kill_all(self) -> None:
        """End everybody at once."""
        self._stopping = self.changed = True
        for handle in list(self.roster):
            kill(handle)
        self.owned.kill_all()
        self.actors.kill_all(time.monotonic())
        self._watch.end()
        for mold in self.molds:
            mold.send_signal(signal.SIGKILL)

    def reopen_logs(self) -> None:
        """Tell everybody that log files were moved away."""
        for channel in [*(link.channel for link in self.links.values()), *(mold.channel for mold in self.molds)]:
            channel.tell(ReopenLogs())

    def reap(self, now: float) -> None:
        """Collect every child that has ended."""
        unreported = self._unforked(float("inf"))
        if not unreported:
            self._strangers.forget()
        for pid, status in process.reap():
            handle = self.roster.by_pid(pid)
            mold = self.molds.of_pid(pid)
            self.places.gone(pid)
            if handle is not None:
                self._worker_gone(handle, status, now)
            elif mold is not None:
                self._mold_gone(mold, status, now)
            elif self.owned.reaped(pid, status) or self._watch.reaped(pid, status, now):
                self.changed = True
            elif unreported:  # it may be such a one
                self._strangers.add(pid, status)

    # -- molds

    def _obey_mold(self, mold: MoldHandle, message: Message) -> None:
        self.changed = True
        if isinstance(message, MoldReady):
            self.generations.imported(mold)
        elif isinstance(message, BootFailed):
            mold.explained = True
            self._boot_failed(str(mold), mold.generation, message)
        elif isinstance(message, Forked):
            self._forked(message, time.monotonic())
        elif isinstance(message, WantShared):
            self._shared.answer(mold.generation, message, mold.channel, None)
        elif isinstance(message, NotForked):
            self.places.not_forked(message.serial)
            if not self.owned.not_forked(message.serial, message.reason):
                self._not_forked(message, time.monotonic())

    def _mold_gone(self, mold: MoldHandle, status: int, now: float) -> None:
        self.changed = True
        expected = self.molds.remove(mold)
        self.actors.mold_gone(mold.generation)
        self.owned.mold_gone(mold.generation)
        self.places.mold_gone(mold.generation)
        for handle in [h for h in self.roster if h.pid is None and h.generation == mold.generation]:
            self._forget_worker(handle)  # ordered, and never forked
        if expected or self._stopping:
            return
        self.generations.mold_died(mold, status, now)
        reason = self._breakage.reason(mold.generation, f"{mold} died: {process.exit_words(status)}")
        if not self.generations.proven:
            self._failed_boots.first_failed(mold.generation, reason, now)
        elif not mold.ready:
            self._breakage.show(mold.generation, reason)

    # -- workers

    def _spawn(self, step: planning.Spawn, now: float) -> None:
        mold = self.molds.ready_for(step.generation)
        if mold is None:
            return  # its app is being imported
        handle = self.roster.add(step.slot, step.generation, now)
        try:
            listeners = self.handout.listeners_of(step.slot)
            link = WorkerLink(handle, self._max_connections)
        except (OSError, BindError) as error:
            _log.error("cannot start a worker for slot %d: %s", step.slot, error)
            self.roster.remove(handle)
            self._back_off(step.slot, None, now)
            return
        if not mold.order(link, listeners):
            self.roster.remove(handle)
            link.stacks.close()
            link.close()
            return
        self.links[handle.serial] = link
        self._selector.register(link.channel, selectors.EVENT_READ, partial(self._hear_worker, link))
        self._stacks.watch(link.stacks, f"worker {step.slot} (generation {step.generation})")

    def _forked(self, message: Forked, now: float) -> None:
        handle = self.roster.by_serial(message.serial)
        status = self._strangers.take(message.pid)
        self.places.forked(message.serial, message.pid)
        if status is not None:
            self.places.gone(message.pid)
        if self.owned.forked(message.serial, message.pid, now):
            if status is not None:
                self.owned.reaped(message.pid, status)
            return
        if handle is None:
            process.send_signal(message.pid, signal.SIGKILL)
            return
        handle.pid = message.pid
        if status is not None:
            self._worker_gone(handle, status, now)
        elif handle.state is State.DRAINING:
            kill(handle)

    def _not_forked(self, message: NotForked, now: float) -> None:
        handle = self.roster.by_serial(message.serial)
        if handle is not None:
            _log.error("cannot fork a worker for slot %d: %s", handle.slot, message.reason)
            self._forget_worker(handle)
            self._back_off(handle.slot, None, now)
            if not self.generations.proven and not self.roster.handles:
                self._give_up()

    def _unforked(self, before: float) -> set[int]:
        """The generations of what was ordered before that time and is not forked yet."""
        late = {handle.generation for handle in self.roster if handle.pid is None and handle.ordered_at <= before}
        return late.union(self.owned.unforked(before))

    def _hear_worker(self, link: WorkerLink) -> None:
        try:
            while received := link.channel.receive():
                self._obey_worker(link, *received, time.monotonic())
        except ChannelClosed:
            self._unregister(link.channel)  # death is told by waitpid
        except ValueError as error:  # not a message, or one that cannot be in its state: app code wrote to our channel
            _log.error("%s said what it cannot say and is killed: %s", link.handle, error)
            kill(link.handle)

    def _obey_worker(self, link: WorkerLink, message: Message, descriptors: list[int], now: float) -> None:
        handle = link.handle
        self.changed = True
        if isinstance(message, HandBack):
            self.handout.dispatch([Passed(descriptor, message.listener) for descriptor in descriptors])
        elif isinstance(message, Ready):
            handle.apply(Event.REPORTED_READY)
            handle.ready_at = now
            self.generations.proven = max(self.generations.proven, handle.generation)
            self._breakage.ready(handle.generation, link.channel)
            _log.info("%s is ready", handle)
        elif isinstance(message, BootFailed):
            self._boot_failed(str(handle), handle.generation, message)
        elif isinstance(message, WantProcess):
            mold = self.molds.ready_for(handle.generation)
            self.owned.order(mold, self.roster.next_serial(), link, message, descriptors, now)
        elif isinstance(message, EndProcess):
            self.owned.end(link.channel, message, now)
        elif isinstance(message, WantShared):
            self._shared.answer(handle.generation, message, link.channel, self.molds.ready_for(handle.generation))
        elif self.actors.obey(link.channel, handle.generation, handle.slot, message, descriptors, now):
            pass
        elif isinstance(message, Leave) and not self._stopping:
            self._retire(handle, "SIGTERM", now, self._drain_seconds, hand_back=True)

    def _retire(self, handle: WorkerHandle, reason: str, now: float, seconds: float, hand_back: bool) -> None:
        booting = handle.state is State.BOOTING
        handle.apply(Event.RETIRED)
        handle.drain_until = now + seconds
        self.changed = True
        if booting:
            kill(handle)
            return
        _log.info("%s drains: %s", handle, reason)
        link = self.links[handle.serial]
        link.channel.tell(Drain(hand_back, seconds))
        if hand_back:
            self.handout.take_back(link)

    def _worker_gone(self, handle: WorkerHandle, status: int, now: float) -> None:
        link = self.links[handle.serial]
        self._hear_worker(link)  # what it said last, and what it handed back
        self._reports.report(link, status, now, self._stopping)
        retired = handle.state is State.DRAINING
        self._forget_worker(handle)
        if retired or self._stopping:
            return
        if handle.ready_at is None and handle.generation > self.generations.proven:
            self._failed_boots.worker_died(handle, status, now)
            return
        lived = None if handle.ready_at is None else now - handle.ready_at
        self._back_off(handle.slot, lived, now)

    def _back_off(self, slot: int, lived: float | None, now: float) -> None:
        delay = self.roster.backoff(slot).died(lived, now)
        if delay:
            _log.warning("the worker of slot %d died young; the next one starts in %.1f s", slot, delay)

    def _files_changed(self, change: Changed) -> None:
        now = time.monotonic()
        more = f" and {change.others} more" if change.others else ""
        _log.info("%s%s changed: reloading", change.path, more)
        self._failed_boots.retire_booting(now)
        self.generations.supersede(now)
        self.changed = True

    def _give_up(self) -> None:
        _log.critical("the app cannot start; see above")
        self.exit_code = self.exit_code or BootError.exit_code
        self.handout.close()
        self.kill_all()

    def _boot_failed(self, who: str, generation: int, message: BootFailed) -> None:
        if message.usage and not self.generations.proven and not self._settings.reload:
            self.exit_code = self.exit_code or UsageError.exit_code
        self._breakage.explain(who, generation, message)

    def _forget_worker(self, handle: WorkerHandle) -> None:
        """It is gone, or never was: what it did not read goes to others."""
        link = self.links.pop(handle.serial)
        self._unregister(link.channel)
        self.owned.end_owned(link.channel, time.monotonic())
        self.actors.user_gone(link.channel)
        self._stacks.forget(link.stacks)
        self.handout.dispatch(link.take_back())
        link.close()
        self.roster.remove(handle)
        self.changed = True

    def _unregister(self, channel: Channel) -> None:
        if channel in self._selector.get_map():
            self._selector.unregister(channel)
