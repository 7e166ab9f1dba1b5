"""The master: one loop that binds, hands out, supervises. Standard library only; it never imports the app."""

import json
import logging
import os
import selectors
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, NoReturn

from prefork.control.happened import happened
from prefork.control.later import Later
from prefork.control.status import ServerState
from prefork.core.balancing import BALANCES
from prefork.core.departure import Departure, Step
from prefork.core.lifecycle import State
from prefork.errors import CommandError
from prefork.metrics import ours
from prefork.processes.control import Control
from prefork.processes.descriptors import affordable_connections
from prefork.processes.handout import HandOut
from prefork.processes.kept_admin import KeptAdmin, open_admin
from prefork.processes.launch import Launch
from prefork.processes.link import WorkerLink
from prefork.processes.places import Places
from prefork.processes.start import MoldStart, WatcherStart
from prefork.processes.succession import Succession
from prefork.processes.supervisor import Supervisor
from prefork.processes.surroundings import Surroundings
from prefork.processes.unit import Unit
from prefork.processes.watch import check_watch, watched_folders
from prefork.settings import Settings, parse_workers
from prefork.system import cgroup, log, process
from prefork.system.channel import Channel
from prefork.system.listeners import Listener
from prefork.system.signals import SignalQueue

LONGEST_WAIT_SECONDS: Final = 60.0

_ASKED_BY: Final = {
    signal.SIGTERM: happened("stop"),
    signal.SIGINT: happened("stop"),
    signal.SIGQUIT: happened("stop"),
    signal.SIGHUP: happened("reload"),
    signal.SIGUSR2: happened("upgrade"),
}
_SIGNALS: Final = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGCHLD,
)

_log = logging.getLogger("prefork.master")


def run(settings: Settings, target: str, begun: Callable[[], None] = lambda: None) -> int:
    """Serve `target` until told to stop; `begun` is called once nothing more can raise UsageError or BindError. Returns
    the exit code."""
    process.fill_standard_streams()
    launch = Launch(os.environ)
    surroundings = Surroundings(settings, launch.taking_over_from)
    settings = surroundings.settings
    log_file = surroundings.open_log()
    if settings.reload:
        check_watch(settings)
    if settings.otel:
        from prefork.system.telemetry import check as check_telemetry

        check_telemetry()
    if settings.tls_cert:
        from prefork.system.tls import check  # here, because only some masters need `ssl`

        check(settings)
    listeners = launch.listen(settings, os.environ)
    admin = open_admin(settings, launch.predecessor, listeners)
    surroundings.bound([*listeners, *admin])
    try:
        master = Master(settings, target, listeners, admin, log_file, surroundings, launch)
        begun()
        try:
            return master.run()
        finally:
            master.close()
    finally:
        surroundings.leave()


class Master:
    """The loop, the signals, and the way from start to stop."""

    def __init__(
        self,
        settings: Settings,
        target: str,
        listeners: list[Listener],
        admin: list[Listener],
        log_file: log.LogFile,
        surroundings: Surroundings,
        launch: Launch,
    ) -> None:
        process.become_subreaper()
        process.yield_to_workers()
        process.set_title(log.title("master"))
        self._pid = os.getpid()
        self._settings = settings
        self._listeners = listeners
        self._log_file = log_file
        self._surroundings = surroundings
        self._selector = selectors.DefaultSelector()
        self._signals = SignalQueue(_SIGNALS)
        self._selector.register(self._signals, selectors.EVENT_READ, self._on_signals)
        links: dict[int, WorkerLink] = {}
        most = affordable_connections(settings)
        self._handout = HandOut(listeners, BALANCES[settings.balance](), links, most, settings.backlog, self._selector)
        self._workers = parse_workers(str(settings.workers), cgroup.usable_cpus())
        self._target = target
        self._most = most
        self._places = Places(settings.metrics)
        log_file.on_lost = lambda: ours.lost_lines.labels("log").inc()  # in whatever process writes there
        self._supervisor = Supervisor(
            settings,
            self._workers,
            links,
            self._handout,
            self._places,
            self._selector,
            most,
            self._become_mold,
            self._become_watcher,
        )
        self._families = launch.families(listeners)
        self._departure = Departure(settings.drain_delay)
        unit = Unit(launch.notifier(os.environ, self._pid), silent=launch.predecessor is not None)
        self._succession = Succession(
            settings,
            launch,
            self._families,
            self._selector,
            self._handout,
            self._supervisor,
            self._departure,
            unit,
        )
        self._succession.take.append(surroundings.take_pid_file)
        addresses = [listener.name for listener in listeners]
        self._control = Control(
            settings, target, addresses, self._supervisor, self._places, self._selector, log_file, self
        )
        self._succession.events = self._control.remember(launch.predecessor)
        self._succession.let_go.append(self._control.let_go)
        self._succession.take.append(partial(self._control.open, taking_over=True))
        self._admin = KeptAdmin(
            settings,
            admin,
            self._selector,
            self._supervisor.stacks,
            self._control.server,
            log_file,
            self._places.descriptor,
            self._workers.high,
            self._readiness,
        )
        self._supervisor.admin = self._admin
        self._control.snapshot.admin = self._admin.address
        self._succession.operators = admin
        self._succession.let_go.append(self._admin.hand_over)
        self._succession.take.append(self._admin.begin)
        self._ready_fd = settings.ready_fd if launch.predecessor is None else None  # it has told already

    def run(self) -> int:
        """The loop. Returns the exit code."""
        names = ", ".join(listener.name for listener in self._listeners)
        _log.info("listening on %s", names)
        if self._settings.debug or self._settings.reload:
            flags = [f"--{name}" for name in ("debug", "reload") if getattr(self._settings, name)]
            _log.warning("%s: for development only; tracebacks are shown to every client", " and ".join(flags))
        supervisor = self._supervisor
        if not self._succession.upgrading:  # else it opens when it takes over
            self._control.open()
            self._admin.begin()
        self._succession.start()
        supervisor.start(time.monotonic())
        wake_at = 0.0
        while not supervisor.finished or self._succession.busy:
            wait = min(max(0.0, wake_at - time.monotonic()), LONGEST_WAIT_SECONDS)
            for key, _ in self._selector.select(wait):
                if self._selector.get_map().get(key.fd) is key:  # not let go of by an event before it
                    key.data()
            now = time.monotonic()
            if supervisor.changed or now >= wake_at:
                supervisor.tick(now, late=max(0.0, now - wake_at) if wake_at else 0.0)
                if self._departure.due(now):
                    self._stop(now, fast=False)
                self._succession.tick(now)
                self._control.tick(now)
                self._handout.update(now)
                wake_at = min(self._deadlines(now), default=now + LONGEST_WAIT_SECONDS)
                if supervisor.changed:  # by what the tick did: there may be a next step
                    wake_at = now
                if not self._departure.serves and supervisor.roster.complete and self._succession.may_serve():
                    self._announce(names)
        self._succession.ended()
        lost = self._handout.reset_waiting()
        if lost:
            _log.warning("%d connections were accepted and never served", lost)
        _log.info("stopped")
        return supervisor.exit_code

    @property
    def state(self) -> ServerState:
        return self._departure.state

    @property
    def upgrading(self) -> bool:
        """Whether another master is to serve in our place, or we in another's."""
        return self._succession.upgrading

    def upgrade(self, now: float) -> Later:
        """Have a new master take our place. Returns what tells how it went. Raises CommandError when that cannot be."""
        return self._succession.upgrade(now)

    def drain(self, now: float) -> None:
        """Go on serving, and say that it will not be for long: /readyz says no."""
        if self.state == "ready":
            _log.info(
                "draining: not ready for load balancers any more, and serving until told to stop",
                extra=happened("stop"),
            )
        self._departure.drain(now)
        self._supervisor.changed = True

    def stop(self, now: float, fast: bool) -> None:
        """End: after --drain-delay, or at once if somebody asks again; `fast` cuts what is open. Who asks during a stop
        has everybody killed."""
        step = self._departure.ask(now, hurry=fast)
        self._succession.tick(now)  # at once: a new master that is ready must not take over before the next round
        self._supervisor.changed = True
        if step is Step.KILL:
            self._supervisor.kill_all()
        elif step is Step.STOP:
            self._stop(now, fast)
        elif step is Step.WAIT:
            seconds = round((self._departure.stop_at or now) - now, 1)
            _log.info(
                "draining: not ready for load balancers any more; the stop begins in %g s",
                seconds,
                extra=happened("stop"),
            )

    def _stop(self, now: float, fast: bool) -> None:
        self._handout.close()
        self._supervisor.stop(now, fast)

    def _deadlines(self, now: float) -> Iterator[float]:
        """When something is to be done, should nothing happen before."""
        yield from self._supervisor.deadlines(now)
        yield from self._handout.deadlines(now)
        yield from self._succession.deadlines(now)
        yield from self._control.deadlines(now)
        if self._departure.stop_at is not None and not self._departure.stopping:
            yield self._departure.stop_at

    def _readiness(self) -> tuple[ServerState, bool]:
        """What /readyz depends on."""
        return self.state, any(handle.state in (State.READY, State.STALLED) for handle in self._supervisor.roster)

    def close(self) -> None:
        self._admin.close()
        self._control.close()
        self._handout.close()
        self._signals.close()
        self._selector.close()

    def _become_mold(self, generation: int, broken: str, channel: Channel, stacks: int) -> NoReturn:
        # Imported here, in the child: the master holds neither the event loop nor the app layer.
        from prefork.processes.mold import run_mold

        start = MoldStart(
            self._control.commands.in_force,
            self._target,
            generation,
            self._pid,
            self._workers.low,
            self._most,
            self._families,
            self._log_file,
            self._places.descriptor,
            broken,
        )
        run_mold(start, channel, stacks)

    def _become_watcher(self, since: float, channel: Channel, stacks: int) -> NoReturn:
        from prefork.processes.watcher import run_watcher  # in the child: it holds watchfiles

        folders = watched_folders(self._settings)
        start = WatcherStart(self._settings, folders, since, self._pid, self._log_file)
        run_watcher(start, channel, stacks)

    def _announce(self, names: str) -> None:
        """The first generation serves: say so, to people and to whoever passed --ready-fd."""
        self._departure.serves = self._supervisor.changed = True
        pids = [handle.pid for handle in self._supervisor.roster]
        _log.info("serving on %s with %d worker%s", names, len(pids), "" if len(pids) == 1 else "s")
        if self._ready_fd is not None:
            line = {"addresses": [li.name for li in self._listeners], "master": os.getpid(), "workers": pids}
            line |= {"admin": self._admin.address}
            try:
                os.write(self._ready_fd, json.dumps(line).encode() + b"\n")
                os.close(self._ready_fd)
            except OSError as error:
                _log.warning("cannot write to --ready-fd %d: %s", self._ready_fd, error.strerror)

    def _on_signals(self) -> None:
        for number in self._signals.drain():
            if number == signal.SIGCHLD:
                self._supervisor.reap(time.monotonic())
            else:
                _log.info("got %s", number.name, extra=_ASKED_BY.get(number))
                self._obey(number, time.monotonic())

    def _obey(self, number: signal.Signals, now: float) -> None:
        supervisor = self._supervisor
        if number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            self.stop(now, fast=number != signal.SIGTERM)
        elif number == signal.SIGUSR2:
            try:
                self.upgrade(now)
            except CommandError as error:
                _log.error("cannot upgrade: %s", error)
        elif number == signal.SIGHUP:
            supervisor.reload(now)
        elif number == signal.SIGTTIN:
            supervisor.scale(+1)
        elif number == signal.SIGTTOU:
            supervisor.scale(-1)
        elif number == signal.SIGUSR1:
            self._surroundings.reopen_log(self._log_file)
            supervisor.reopen_logs()
