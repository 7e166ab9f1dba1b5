"""What is done when code cannot start: the generation that serves goes on, an error page does, or the server ends."""

import logging
from collections.abc import Callable

from prefork.core.lifecycle import State
from prefork.core.roster import Roster, WorkerHandle
from prefork.processes.breakage import Breakage
from prefork.processes.generations import Generations
from prefork.processes.watchdog import kill
from prefork.system import process

_log = logging.getLogger("prefork.supervisor")


class FailedBoots:
    """Deals with generations of which no worker became ready."""

    def __init__(
        self,
        roster: Roster,
        generations: Generations,
        breakage: Breakage,
        developing: bool,
        retire: Callable[[WorkerHandle, float], None],
        back_off: Callable[[int, float], None],
        give_up: Callable[[], None],
    ) -> None:
        """`developing`: an error page is better than no server. `retire(handle, now)` lets a worker go because of a
        reload, `back_off(slot, now)` makes the next worker of a slot wait, `give_up()` ends the server."""
        self._roster = roster
        self._generations = generations
        self._breakage = breakage
        self._developing = developing
        self._retire = retire
        self._back_off = back_off
        self._give_up = give_up

    def worker_died(self, handle: WorkerHandle, status: int, now: float) -> None:
        """A worker of a generation that never served could not boot. `status` as waitpid gives it."""
        generation = handle.generation
        reason = self._breakage.reason(generation, f"{handle} died before it was ready: {process.exit_words(status)}")
        if self._generations.proven:
            self._generations.roll_back(now)
            self._breakage.show(generation, reason)
            for other in [h for h in self._roster if h.generation == generation]:
                kill(other)
        elif self._developing or not self._roster.in_state(State.BOOTING, State.READY, State.STALLED):
            self.first_failed(generation, reason, now)
        else:  # others still boot; meanwhile a slot that fails again and again must not spin
            self._back_off(handle.slot, now)

    def first_failed(self, generation: int, reason: str, now: float) -> None:
        """The app cannot start, and nothing else serves. In development an error page does, until it can."""
        if self._developing and not self._breakage.is_stand_in(generation):
            self.retire_booting(now)
            _log.error("the app cannot start, see above; until it can, an error page is served")
            if self._generations.begin_anew(now, broken=reason):
                self._breakage.show(generation, reason)
                self._breakage.stand_in(self._roster.generation)
                return
        self._give_up()

    def retire_booting(self, now: float) -> None:
        """Let go of the workers of a generation that has not served."""
        for handle in self._roster.in_state(State.BOOTING):
            if handle.generation > self._generations.proven:
                self._retire(handle, now)
