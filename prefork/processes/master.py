"""The master: one loop that binds, hands out, supervises. Standard library only; it never imports the app."""

import json
import logging
import os
import selectors
import signal
import time
from typing import Final, NoReturn

from prefork.core.balancing import BALANCES
from prefork.processes.handout import HandOut
from prefork.processes.link import WorkerLink
from prefork.processes.places import Places
from prefork.processes.start import MoldStart, WatcherStart
from prefork.processes.supervisor import Supervisor
from prefork.processes.watch import check_watch, watched_folders
from prefork.settings import Settings, parse_workers
from prefork.system import cgroup, log, process
from prefork.system.channel import Channel
from prefork.system.listeners import Listener, open_listeners, systemd_binds
from prefork.system.signals import SignalQueue

RESERVED_DESCRIPTORS: Final = 128  # of a process, for what is no connection
OFFLOADER_DESCRIPTORS: Final = 8  # of a worker, for each of its offloaders: channel, stacks, arenas
CHILD_DESCRIPTORS: Final = 5  # of a worker, for each program: three pipes, a pidfd, and one more while it starts
LONGEST_WAIT_SECONDS: Final = 60.0

_SIGNALS: Final = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGUSR1,
    signal.SIGCHLD,
)

_log = logging.getLogger("prefork.master")


def run(settings: Settings, target: str) -> int:
    """Serve `target` until told to stop. Returns the exit code. Raises UsageError and BindError before it serves."""
    process.fill_standard_streams()
    log_file = log.set_up(settings)
    if settings.reload:
        check_watch(settings)
    if settings.tls_cert:
        from prefork.system.tls import check  # here, because only some masters need `ssl`

        check(settings)
    binds = systemd_binds(os.environ) or settings.bind
    scheme = "https" if settings.tls_cert else "http"
    listeners = open_listeners(binds, settings.backlog, settings.balance == "kernel", scheme)
    master = Master(settings, target, listeners, log_file)
    try:
        return master.run()
    finally:
        master.close()


class Master:
    """The loop, the signals, and the way from start to stop."""

    def __init__(self, settings: Settings, target: str, listeners: list[Listener], log_file: log.LogFile) -> None:
        process.become_subreaper()
        process.yield_to_workers()
        process.set_title(log.title("master"))
        self._pid = os.getpid()
        self._settings = settings
        self._listeners = listeners
        self._log_file = log_file
        self._selector = selectors.DefaultSelector()
        self._signals = SignalQueue(_SIGNALS)
        self._selector.register(self._signals, selectors.EVENT_READ, self._on_signals)
        links: dict[int, WorkerLink] = {}
        most = _affordable_connections(settings)
        self._handout = HandOut(listeners, BALANCES[settings.balance](), links, most, settings.backlog, self._selector)
        self._workers = parse_workers(str(settings.workers), cgroup.usable_cpus()).low
        self._target = target
        self._most = most
        self._places = Places(settings.metrics)
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
        self._announced = False
        self._stopping = False

    def run(self) -> int:
        """The loop. Returns the exit code."""
        names = ", ".join(listener.name for listener in self._listeners)
        _log.info("listening on %s", names)
        if self._settings.debug or self._settings.reload:
            flags = [f"--{name}" for name in ("debug", "reload") if getattr(self._settings, name)]
            _log.warning("%s: for development only; tracebacks are shown to every client", " and ".join(flags))
        supervisor = self._supervisor
        supervisor.start(time.monotonic())
        wake_at = 0.0
        while not supervisor.finished:
            wait = min(max(0.0, wake_at - time.monotonic()), LONGEST_WAIT_SECONDS)
            for key, _ in self._selector.select(wait):
                if self._selector.get_map().get(key.fd) is key:  # not let go of by an event before it
                    key.data()
            now = time.monotonic()
            if supervisor.changed or now >= wake_at:
                supervisor.tick(now, late=max(0.0, now - wake_at) if wake_at else 0.0)
                self._handout.update(now)
                wake_at = min(
                    [*supervisor.deadlines(now), *self._handout.deadlines(now)], default=now + LONGEST_WAIT_SECONDS
                )
                if supervisor.changed:  # by what the tick did: there may be a next step
                    wake_at = now
                if not self._announced and supervisor.roster.complete:
                    self._announce(names)
        lost = self._handout.reset_waiting()
        if lost:
            _log.warning("%d connections were accepted and never served", lost)
        _log.info("stopped")
        return supervisor.exit_code

    def close(self) -> None:
        self._handout.close()
        self._signals.close()
        self._selector.close()

    def _become_mold(self, generation: int, broken: str, channel: Channel, stacks: int) -> NoReturn:
        # Imported here, in the child: the master holds neither the event loop nor the app layer.
        from prefork.processes.mold import run_mold

        families = [listener.socket.family for listener in self._listeners]
        start = MoldStart(
            self._settings,
            self._target,
            generation,
            self._pid,
            self._workers,
            self._most,
            families,
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
        self._announced = True
        pids = [handle.pid for handle in self._supervisor.roster]
        _log.info("serving on %s with %d worker%s", names, len(pids), "" if len(pids) == 1 else "s")
        if self._settings.ready_fd is not None:
            line = {"addresses": [li.name for li in self._listeners], "master": os.getpid(), "workers": pids}
            try:
                os.write(self._settings.ready_fd, json.dumps(line).encode() + b"\n")
                os.close(self._settings.ready_fd)
            except OSError as error:
                _log.warning("cannot write to --ready-fd %d: %s", self._settings.ready_fd, error.strerror)

    def _on_signals(self) -> None:
        for number in self._signals.drain():
            if number == signal.SIGCHLD:
                self._supervisor.reap(time.monotonic())
            else:
                _log.info("got %s", number.name)
                self._obey(number, time.monotonic())

    def _obey(self, number: signal.Signals, now: float) -> None:
        supervisor = self._supervisor
        if number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            if self._stopping:
                supervisor.kill_all()
            else:
                self._stopping = True
                self._handout.close()
                supervisor.stop(now, fast=number != signal.SIGTERM)
        elif number == signal.SIGHUP:
            supervisor.reload(now)
        elif number == signal.SIGTTIN:
            supervisor.scale(+1)
        elif number == signal.SIGTTOU:
            supervisor.scale(-1)
        elif number == signal.SIGUSR1:
            self._log_file.reopen()
            supervisor.reopen_logs()


def _affordable_connections(settings: Settings) -> int:
    """Connections a worker may hold, given the limit on open descriptors, which is raised as far as allowed."""
    wanted = settings.max_connections
    limit = process.raise_descriptor_limit()
    offloaders = cgroup.usable_cpus() if settings.offload_max == "auto" else settings.offload_max
    others = OFFLOADER_DESCRIPTORS * offloaders + CHILD_DESCRIPTORS * settings.max_children
    most = max(1, min(wanted, limit - RESERVED_DESCRIPTORS - others))
    if most < wanted:
        _log.warning(
            "max_connections is %d, but the limit on open descriptors is %d: using %d (see ulimit -n)",
            wanted,
            limit,
            most,
        )
    return most
