"""One master after the other: what a master has to do with the one before it and the one after it."""

import logging
import os
import selectors
from collections.abc import Callable, Collection, Iterator, Sequence

from prefork.control.happened import happened
from prefork.control.later import Later
from prefork.core.departure import Departure
from prefork.errors import CommandError
from prefork.messages import Estate
from prefork.processes.handout import HandOut
from prefork.processes.launch import Launch
from prefork.processes.supervisor import Supervisor
from prefork.processes.unit import Unit, View
from prefork.processes.upgrade import Upgrade, possessions
from prefork.settings import Settings
from prefork.system.listeners import Listener

_log = logging.getLogger("prefork.upgrade")


class Succession:
    """Upgrades to and from this master."""

    def __init__(
        self,
        settings: Settings,
        launch: Launch,
        families: Sequence[int],
        selector: selectors.BaseSelector,
        handout: HandOut,
        supervisor: Supervisor,
        departure: Departure,
        unit: Unit,
    ) -> None:
        """`families` of all connections there can be, by the index of their listener."""
        self.operators: Sequence[Listener] = ()
        """Listeners that serve no clients."""
        self.events: Callable[[], bytes] = bytes
        """What a new master is to know of what happened before it."""
        self.let_go: list[Callable[[], None]] = []
        """What to do when another master serves: let go of what there can be only one of."""
        self.take: list[Callable[[], None]] = []
        """What to do when we serve: take it."""
        self._settings = settings
        predecessor = launch.predecessor
        self._launch = launch
        self._predecessor = predecessor
        self._families = list(families)
        self._handout = handout
        self._supervisor = supervisor
        self._departure = departure
        self._unit = unit
        self._serves = predecessor is None
        self._upgrade = Upgrade(
            launch.origin, selector, settings.boot_seconds, self._announce, self._handed_over, self._changed
        )
        supervisor.also_reaped = self._upgrade.reaped
        if predecessor is not None:
            predecessor.attend(selector, self._begin, handout.dispatch)
            ours = handout.listeners()[0]
            slots = predecessor.of_slots(ours, settings.backlog) if handout.workers_accept else {}
            handout.hold([listener for listener in ours if predecessor.has_left(listener)], slots)
            supervisor.generations.go_on_from(predecessor.generation)
            supervisor.scaling.go_on_from(predecessor.workers)

    @property
    def upgrading(self) -> bool:
        """Whether a new master boots, or we are one that has not served yet."""
        return self._upgrade.boots or not self._serves

    @property
    def busy(self) -> bool:
        """Whether we may not end yet, although our workers are gone."""
        return self._handout.leaving or (bool(self._upgrade) and not self._upgrade.serves)

    def start(self) -> None:
        """All that is there is opened: let go of what the old master has left besides."""
        if self._predecessor is not None:
            self._predecessor.close_rest()
            _log.info(
                "upgrade: this is the new master; master %d serves until we are ready",
                self._predecessor.pid,
                extra=happened("upgrade"),
            )

    def upgrade(self, now: float) -> Later:
        """Start a new master, which takes our place when it is ready. Returns what tells how it went. Raises
        CommandError when that cannot be."""
        reason = self._refusal()
        if reason:
            raise CommandError(reason)
        owned = possessions(self._handout.listeners(), self.operators)
        generation, workers = self._supervisor.molds.generation, self._supervisor.roster.wanted
        estate = Estate(os.getpid(), generation, self._families, len(owned), self._launch.activated, workers)
        outcome = self._upgrade.begin(estate, self.events(), owned, now)
        self._changed()
        return outcome

    def may_serve(self) -> bool:
        """Our first generation is complete: whether it is our turn. Asks the old master, if there is one."""
        if not self._serves and self._predecessor is not None:
            self._predecessor.ask(idle=self._plain)
        return self._serves

    def tick(self, now: float) -> None:
        """Do what is due."""
        if self._departure.ends and not self._upgrade.serves:
            self._upgrade.abandon("the server stops", now)
        self._upgrade.tick(now)
        if self._handout.leaving and not self._upgrade.listens:
            self._handout.leave_to_nobody()
        self._unit.look(now, self._view())

    def deadlines(self, now: float) -> Iterator[float]:
        """When `tick` has something to do, should nothing happen before."""
        yield from self._upgrade.deadlines(now)
        yield from self._unit.deadlines()

    def ended(self) -> None:
        """We are about to end: if we never served, the old master is to know why."""
        if self._predecessor is not None:
            self._predecessor.unable()
        self._unit.close()

    @property
    def _plain(self) -> bool:
        """Whether connections begin with HTTP, so that another worker can go on with an idle one."""
        return not self._settings.tls_cert and not self._settings.proxy_protocol

    def _refusal(self) -> str:
        if self._departure.stopping:
            return "the server stops"
        if self._upgrade:
            return f"an upgrade is in progress: the new master (pid {self._upgrade.pid}) boots"
        if not self._serves or not self._departure.serves:
            return "this master does not serve yet"
        if self._departure.ends:
            return "the server is about to stop"
        if self._predecessor:
            return f"master {self._predecessor.pid}, before this one, still drains; try again when it has ended"
        if self._settings.reload:
            return "with --reload there is no upgrade: new code is served as it is saved"
        if os.getpid() == 1:
            return "this is PID 1, and the container ends with it: start a new container beside it instead"
        named = self._launch.origin.environment
        if named.get("SYSTEMD_EXEC_PID") == str(os.getpid()) and not named.get("NOTIFY_SOCKET"):
            return "systemd would end the service with this process: the unit needs Type=notify"
        return ""

    def _announce(self, pid: int | None) -> None:
        """The new master is about to serve; None: it could not."""
        if pid is None:
            self._unit.take_back()
        else:
            self._unit.hand_over(pid)

    def _handed_over(self, kept: Collection[Listener], idle: bool) -> None:
        """The new master serves: give it what is ours, and finish what only we can."""
        self._departure.hand_over()
        for listener in self.operators:
            if listener not in kept:
                listener.unlink()
        for step in self.let_go:
            step()
        self._handout.leave_to(self._upgrade, kept)
        # Connections that began with a handshake stay with their worker in any case, and are not to be cut for it.
        self._supervisor.hand_over(idle or not self._plain)

    def _begin(self) -> None:
        """It is our turn."""
        if not self._serves:
            self._serves = True
            self._handout.begin()
            self._unit.speak()
            for step in self.take:
                step()
        self._changed()

    def _changed(self) -> None:
        self._supervisor.changed = True

    def _view(self) -> View:
        supervisor, roster = self._supervisor, self._supervisor.roster
        ready = len({handle.slot for handle in roster if handle.state.value in ("ready", "stalled")})
        booting = self._departure.serves and (supervisor.molds.booting or not roster.settled)
        return View(
            self._departure.state,
            ready,
            roster.wanted,
            roster.generation,
            bool(booting or self._upgrade.boots),
            self._upgrade.pid,
            self._departure.ends,
        )
