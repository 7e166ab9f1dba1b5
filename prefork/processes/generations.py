"""Which code is served: a mold for each generation, the reload in progress, and the way back when it fails."""

import logging
from collections.abc import Iterator

from prefork.control.happened import happened
from prefork.core.backoff import Backoff
from prefork.core.roster import Roster
from prefork.processes.molds import MoldHandle, Molds
from prefork.system import process

_log = logging.getLogger("prefork.supervisor")


class Generations:
    """Keeps a mold for the generation that `roster` wants, and changes that wish as code is imported or fails."""

    def __init__(self, roster: Roster, molds: Molds) -> None:
        self.proven = 0  # the latest generation of which a worker was ready
        self._roster = roster
        self._molds = molds
        self._backoff = Backoff()
        self._reload_wanted = False

    def go_on_from(self, generation: int) -> None:
        """Before anything is forked: count on from the last generation of another master."""
        self._molds.generation = generation
        self._roster.generation = generation + 1

    def fork(self, now: float, broken: str = "") -> bool:
        """Fork the mold of the next generation. False when the system does not let us. See `Molds.fork`."""
        try:
            self._molds.fork(now, broken)
        except OSError as error:
            _log.error("cannot fork a mold: %s", error.strerror)
            self._backoff.died(None, now)
            return False
        return True

    @property
    def busy(self) -> bool:
        """Whether a reload goes on, or waits for its turn."""
        return self._reload_wanted or self._molds.booting or not self._roster.settled

    def reload(self, now: float) -> None:
        """Import the app afresh, now or after the reload that goes on."""
        if self._molds.booting or not self._roster.settled:
            self._reload_wanted = True
            _log.info("reload: another is going on; this one comes after it", extra=happened("reload"))
        else:
            self.fork(now)

    def begin_anew(self, now: float, broken: str = "") -> bool:
        """As `fork`, while nothing serves: no other generation is worth a worker any more."""
        forked = self.fork(now, broken)
        self._roster.generation = self._molds.generation
        return forked

    def supersede(self, now: float) -> None:
        """The app's files have changed: import it afresh, and drop what was imported just before and has not served."""
        self._molds.abandon_booting()
        if not self.proven:
            self.begin_anew(now)
            return
        self._roster.generation = self.proven
        self.reload(now)

    @property
    def _current(self) -> bool:
        """Whether a mold forks what we want, or imports what is newer. One that has imported it and is not wanted is
        that of a canary that is over, and only waits for its workers."""
        wanted = self._roster.generation
        able = (mold for mold in self._molds if not mold.killed and not mold.released)
        return any(mold.generation == wanted or (mold.generation > wanted and mold.booting) for mold in able)

    def tend(self, now: float) -> None:
        """Have a mold for the generation we want, and the next one when a reload waits for its turn."""
        if not self._current and now >= self._backoff.not_before:
            self.fork(now)
        elif self._reload_wanted and self._roster.settled and not self._molds.booting:
            self._reload_wanted = False
            self.fork(now)

    def deadlines(self, now: float) -> Iterator[float]:
        """When `tend` could next have something to do, should nothing happen before."""
        if self._backoff.not_before > now:
            yield self._backoff.not_before

    def imported(self, mold: MoldHandle) -> None:
        """A mold is ready: from now on its generation is the one we want, unless it is on trial."""
        mold.ready = True
        if mold.generation > self._roster.generation and mold.generation not in self._roster.wanted_generations:
            _log.info("reload: generation %d is imported", mold.generation, extra=happened("reload"))
            self._roster.generation = mold.generation

    def mold_died(self, mold: MoldHandle, status: int, now: float) -> None:
        """A mold ended that should not have. `status` as waitpid gives it."""
        words = process.exit_words(status)
        self._backoff.died(now - mold.ordered_at if mold.ready else None, now)
        if mold.ready:
            anew = "; importing the app anew" if self.proven and not self._current else ""
            _log.error("%s died: %s%s", mold, words, anew, extra=happened("died"))
        elif not mold.explained:
            _log.error("%s died while it imported the app: %s", mold, words, extra=happened("died"))
        if self.proven and not mold.ready:
            _log.error("reload failed: generation %d keeps serving", self._roster.generation, extra=happened("reload"))

    def roll_back(self, now: float) -> None:
        """The workers of the generation we want cannot boot: want the one that serves."""
        _log.error("reload failed: generation %d keeps serving", self.proven, extra=happened("reload"))
        self._roster.generation = self.proven
        self._backoff.died(None, now)
