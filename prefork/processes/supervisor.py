"""Keep the wanted workers alive: order them from molds, watch them, retire, kill and reap them."""

import logging
import selectors
import signal
import time
from collections.abc import Callable, Iterator
from typing import NoReturn

from prefork.control.happened import happened
from prefork.core import canary as trial
from prefork.core import plan as planning
from prefork.core.lifecycle import State
from prefork.core.roster import Roster, WorkerHandle
from prefork.errors import BootError, CommandError, UsageError
from prefork.messages import (
    BootFailed,
    Changed,
    Forked,
    Message,
    MoldReady,
    NotForked,
    ReopenLogs,
    WantShared,
)
from prefork.processes.autoscaling import Autoscaling
from prefork.processes.breakage import Breakage
from prefork.processes.canary import CanaryReload
from prefork.processes.failed_boots import FailedBoots
from prefork.processes.generations import Generations
from prefork.processes.handout import HandOut
from prefork.processes.holdings import Holdings
from prefork.processes.kept import Kept
from prefork.processes.limits import WorkerLimits
from prefork.processes.link import WorkerLink
from prefork.processes.molds import MoldHandle, Molds
from prefork.processes.places import Places
from prefork.processes.reports import DeathReports
from prefork.processes.stacks import StacksLog
from prefork.processes.strangers import Strangers
from prefork.processes.watch import Watch, drain_seconds
from prefork.processes.watchdog import Watchdog, kill
from prefork.processes.workers import Workers
from prefork.settings import Settings, WorkerRange
from prefork.system import process, reach
from prefork.system.channel import Channel

_log = logging.getLogger("prefork.supervisor")


class Supervisor:
    """The master's hands on its children. What to do is decided in `core`; here it is done."""

    def __init__(
        self,
        settings: Settings,
        workers: WorkerRange,
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
        self.roster = Roster(workers.low)
        self.exit_code = 0
        self.changed = False  # something happened that planning should look at
        self._settings = settings
        self._drain_seconds = drain_seconds(settings)
        self.links = links
        self.handout = handout
        self.stacks = StacksLog(selector)
        self.places = places
        self.molds = Molds(selector, self.stacks, places, become_mold, self._obey_mold)
        self.generations = Generations(self.roster, self.molds)
        self.holdings = Holdings(selector, self.molds, self.roster.next_serial, settings.boot_seconds)
        self.owned, self.actors = self.holdings.owned, self.holdings.actors
        self.workers = Workers(
            self, self.roster, links, handout, self.molds, self.holdings, self.stacks, selector, max_connections
        )
        self._reports = DeathReports()
        self.watchdog = Watchdog(settings, self.roster, links, handout)
        self.limits = WorkerLimits(settings, self.roster, links)
        self.scaling = Autoscaling(settings, workers, self.roster, links, handout, max_connections)
        self._breakage = Breakage(links, settings.reload)
        self._failed_boots = FailedBoots(
            self.roster,
            self.generations,
            self._breakage,
            settings.reload,
            lambda handle, now: self._drain(handle, "reload", now),
            lambda slot, now: self.workers.back_off(slot, None, now),
            self._give_up,
        )
        self.canaries = CanaryReload(
            settings,
            self.roster,
            self.generations,
            self.molds,
            handout,
            links,
            places,
            lambda handle, now: self._drain(handle, "canary ended", now),
        )
        self._watch = Watch(selector, self.stacks, settings.reload, become_watcher, self._files_changed)
        self.admin: Kept | None = None  # the last to end
        self.also_reaped: Callable[[int, int], bool] = lambda pid, status: False
        self._stopping = False
        self._strangers = Strangers()

    # -- what the master's loop asks

    @property
    def stopping(self) -> bool:
        return self._stopping

    @property
    def finished(self) -> bool:
        """Whether everybody is gone, as it should be."""
        return self._stopping and not self._left and not self.admin

    @property
    def _kept(self) -> list[Kept]:
        return [self._watch] if self.admin is None else [self._watch, self.admin]

    @property
    def _left(self) -> bool:
        return bool(self.roster.handles or self.molds or self.holdings or self._watch)

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
        self.stacks.write_quiet(now)
        self.holdings.tick(now, None if self._stopping else self.roster.generation)
        self.molds.abort_late(now, self._settings.boot_seconds)
        for generation in self._unforked(now - self._settings.boot_seconds):
            self.molds.kill_idle(generation)
        if self.admin is not None and self._stopping and not self._left:
            self.admin.end(now)
        for kept in self._kept:
            kept.tend(now)
        if not self._stopping:
            self.generations.tend(now)
            self.limits.tick(now)
            self.scaling.tick(now)
            self.canaries.tick(now)
            for step in trial.plan(self.roster, now):
                if isinstance(step, planning.Spawn):
                    self.workers.spawn(step, now)
                else:
                    self._drain(step.handle, step.reason, now)
        in_use = {handle.generation for handle in self.roster}
        self.molds.release(in_use if self._stopping else in_use | self.roster.wanted_generations)
        self.holdings.release(in_use | {self.roster.generation, *(mold.generation for mold in self.molds)})

    def deadlines(self, now: float) -> Iterator[float]:
        """When `tick` could next have something to do, should nothing happen before."""
        yield from self.watchdog.deadlines(now)
        for kept in self._kept:
            yield from kept.deadlines(now)
        yield from self.stacks.deadlines()
        yield from self.holdings.deadlines(now)
        yield from self.molds.deadlines(self._settings.boot_seconds)
        if not self._stopping:
            yield from planning.deadlines(self.roster, now)
            yield from self.limits.deadlines()
            yield from self.scaling.deadlines()
            yield from self.canaries.deadlines()
            yield from self.generations.deadlines(now)

    def reload(self, now: float) -> None:
        """Import the app afresh and replace the workers, slot by slot."""
        if not self._stopping:
            self.canaries.call_off("a reload brings code that is newer", now)
            self.generations.reload(now)
            self.changed = True

    def canary(self, share: float, now: float) -> None:
        """Import the app afresh and give it that share of new connections; then promote it or roll it back. Raises
        CommandError."""
        self._refuse_if_stopping()
        self.canaries.begin(share, now)
        self.changed = True

    def scale(self, by: int) -> None:
        """Want so many workers more, or fewer; at least one. Within limits that lie apart, those stay."""
        self.scaling.step(by)
        self.changed = True

    def scale_to(self, low: int, high: int) -> None:
        """Want so many workers: between these, as there is work for. Raises CommandError."""
        self._refuse_if_stopping()
        self.scaling.scale_to(low, high)
        self.changed = True

    def retire(self, slot: int) -> None:
        """Have the worker of a slot replaced: another is ready before it drains. Raises CommandError."""
        self._refuse_if_stopping()
        self.limits.retire(slot)
        self.changed = True

    def _refuse_if_stopping(self) -> None:
        if self._stopping:
            raise CommandError("the server is stopping")

    def stop(self, now: float, fast: bool, reason: str = "stop", hand_back: bool = False) -> None:
        """Let everybody finish what is in progress; `fast`: cut it."""
        self._stopping = self.changed = True
        self.canaries.stop()
        for handle in self.roster.in_state(State.STALLED):
            self.handout.take_back(self.links[handle.serial])
        self.handout.settle()
        self._watch.end(now)
        seconds = 0.0 if fast else self._settings.drain_seconds
        for handle in list(self.roster):
            self.workers.retire(handle, reason, now, seconds, hand_back)
        for mold in self.molds:
            if not mold.ready:
                mold.send_signal(signal.SIGKILL)

    def hand_over(self, hand_back: bool) -> None:
        """Another master serves from now on: stop, and `hand_back` idle connections, which go to it."""
        self.stop(time.monotonic(), fast=False, reason="upgrade", hand_back=hand_back)

    def kill_all(self) -> None:
        """End everybody at once."""
        self._stopping = self.changed = True
        for handle in list(self.roster):
            kill(handle)
        self.holdings.kill_all(time.monotonic())
        self._watch.end(time.monotonic())
        for mold in self.molds:
            mold.send_signal(signal.SIGKILL)

    def reopen_logs(self) -> None:
        """Tell everybody that log files were moved away."""
        self.tell_all(ReopenLogs())

    def tell_all(self, message: Message) -> None:
        """Every worker and mold, and the admin."""
        if self.admin is not None:
            self.admin.tell(message)
        for channel in [*(link.channel for link in self.links.values()), *(mold.channel for mold in self.molds)]:
            channel.tell(message)

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
            elif (
                self.owned.reaped(pid, status)
                or any(kept.reaped(pid, status, now) for kept in self._kept)
                or self.also_reaped(pid, status)
            ):
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
            self.holdings.obey_mold(mold, message)
        elif isinstance(message, NotForked):
            self._not_forked(message, time.monotonic())

    def _mold_gone(self, mold: MoldHandle, status: int, now: float) -> None:
        self.changed = True
        expected = self.molds.remove(mold)
        self.holdings.mold_gone(mold.generation)
        self.places.mold_gone(mold.generation)
        for handle in [h for h in self.roster if h.pid is None and h.generation == mold.generation]:
            self.workers.forget(handle)  # ordered, and never forked
        if expected or self._stopping or self.canaries.mold_died(mold, status, now):
            return
        self.generations.mold_died(mold, status, now)
        reason = self._breakage.reason(mold.generation, f"{mold} died: {process.exit_words(status)}")
        if not self.generations.proven:
            self._failed_boots.first_failed(mold.generation, reason, now)
        elif not mold.ready:
            self._breakage.show(mold.generation, reason)

    # -- workers: what `Workers` asks and tells

    def worker_ready(self, link: WorkerLink) -> None:
        handle = link.handle
        if not self.canaries.worker_ready(handle):
            self.generations.proven = max(self.generations.proven, handle.generation)
        self._breakage.ready(handle.generation, link.channel)

    def worker_cannot_boot(self, handle: WorkerHandle, message: BootFailed) -> None:
        self._boot_failed(str(handle), handle.generation, message)

    def worker_leaves(self, handle: WorkerHandle, now: float) -> None:
        if not self._stopping:
            self._drain(handle, "SIGTERM", now)

    def _drain(self, handle: WorkerHandle, reason: str, now: float) -> None:
        """Let one go while others serve."""
        self.workers.retire(handle, reason, now, self._drain_seconds, hand_back=True)

    def _forked(self, message: Forked, now: float) -> None:
        status = self._strangers.take(message.pid)
        if status is None:
            reach.check(message.pid)
        self.places.forked(message.serial, message.pid)
        if status is not None:
            self.places.gone(message.pid)
        if self.owned.forked(message.serial, message.pid, now):
            if status is not None:
                self.owned.reaped(message.pid, status)
            return
        handle = self.workers.forked(message.serial, message.pid)
        if handle is not None and status is not None:
            self._worker_gone(handle, status, now)

    def _not_forked(self, message: NotForked, now: float) -> None:
        self.places.not_forked(message.serial)
        handle = self.roster.by_serial(message.serial)
        if self.owned.not_forked(message.serial, message.reason) or handle is None:
            return
        _log.error("cannot fork a worker for slot %d: %s", handle.slot, message.reason)
        self.workers.forget(handle)
        if self.canaries.failed(handle.generation, f"cannot fork a worker: {message.reason}", now):
            return
        self.workers.back_off(handle.slot, None, now)
        if not self.generations.proven and not self.roster.handles:
            self._give_up()

    def _unforked(self, before: float) -> set[int]:
        """The generations of what was ordered before that time and is not forked yet."""
        late = {handle.generation for handle in self.roster if handle.pid is None and handle.ordered_at <= before}
        return late.union(self.owned.unforked(before))

    def _worker_gone(self, handle: WorkerHandle, status: int, now: float) -> None:
        link = self.links[handle.serial]
        self.workers.hear(link)  # what it said last, and what it handed back
        self._reports.report(link, status, now, self._stopping)
        retired = handle.state is State.DRAINING
        self.canaries.worker_gone(link, now)
        self.workers.forget(handle)
        if retired or self._stopping or self.canaries.worker_died(handle, status, now):
            return
        if handle.ready_at is None and handle.generation > self.generations.proven:
            self._failed_boots.worker_died(handle, status, now)
            return
        lived = None if handle.ready_at is None else now - handle.ready_at
        self.workers.back_off(handle.slot, lived, now)

    def _files_changed(self, change: Changed) -> None:
        now = time.monotonic()
        more = f" and {change.others} more" if change.others else ""
        _log.info("%s%s changed: reloading", change.path, more, extra=happened("reload"))
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
