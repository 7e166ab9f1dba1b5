"""A canary reload: the new generation serves beside the old one, gets its share, and is promoted or rolled back."""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from prefork.control.happened import happened
from prefork.control.quantities import percent
from prefork.control.status import CanaryStatus
from prefork.core import canary
from prefork.core.balancing import Split
from prefork.core.canary import Side, Tally, Verdict
from prefork.core.lifecycle import State
from prefork.core.roster import Canary, Roster, WorkerHandle
from prefork.errors import CommandError
from prefork.metrics.kinds import SECONDS
from prefork.processes.generations import Generations
from prefork.processes.handout import HandOut
from prefork.processes.link import WorkerLink
from prefork.processes.molds import MoldHandle, Molds
from prefork.processes.places import Places
from prefork.processes.tallies import Tallies
from prefork.settings import Settings
from prefork.system import process

LEVELS: Final = {"promoted": logging.INFO, "called off": logging.WARNING, "rolled back": logging.ERROR}
LOOK_SECONDS: Final = 1.0  # between two looks whether the new generation is plainly worse

_log = logging.getLogger("prefork.supervisor")


@dataclass
class Trial:
    """The time in which both generations are compared. Times are monotonic seconds."""

    split: Split
    tallies: Tallies
    until: float
    next_look: float


class CanaryReload:
    """What the supervisor tells of workers and molds while there is a canary, and what it does with it."""

    def __init__(
        self,
        settings: Settings,
        roster: Roster,
        generations: Generations,
        molds: Molds,
        handout: HandOut,
        links: Mapping[int, WorkerLink],
        places: Places,
        retire: Callable[[WorkerHandle, float], None],
    ) -> None:
        """`links` by serial, kept by the caller; `retire(handle, now)` lets a worker of the canary drain."""
        self._settings = settings
        self._roster = roster
        self._generations = generations
        self._molds = molds
        self._handout = handout
        self._links = links
        self._places = places
        self._retire = retire
        self._trial: Trial | None = None  # None: it is imported, or boots

    def begin(self, share: float, now: float) -> None:
        """Import the app afresh, and give that share of new connections to it. Raises CommandError."""
        refusal = self._refusal(share)
        if refusal:
            raise CommandError(refusal)
        if not self._generations.fork(now):
            raise CommandError("the system does not let us fork a mold; see the log")
        self._roster.canary = Canary(self._molds.generation, share)
        self._handout.split(self._molds.generation, 0.0)
        _log.info(
            "canary: the app is imported as generation %d, for %s of new connections",
            self._molds.generation,
            percent(share),
            extra=happened("canary"),
        )

    def tick(self, now: float) -> None:
        """Begin the trial when all workers of the canary are ready; end it when it is time."""
        wish = self._roster.canary
        if wish is None:
            return
        if self._trial is None:
            ready = [h for h in self._roster.in_state(State.READY) if h.generation == wish.generation]
            if len(ready) >= wish.workers(self._roster.wanted):
                self._try(wish, now)
        elif now >= self._trial.until:
            old, new = self._tallies(self._trial, now)
            self._act(self._final(wish, canary.judge(old, new, SECONDS)), now)
        elif now >= self._trial.next_look:
            self._trial.next_look = now + LOOK_SECONDS
            verdict = canary.plainly_worse(*self._tallies(self._trial, now), SECONDS)
            if verdict is not None:
                self._act(verdict, now)

    def deadlines(self) -> Iterator[float]:
        """When `tick` has something to do, should nothing happen before."""
        if self._trial is not None:
            yield min(self._trial.until, self._trial.next_look)

    def worker_ready(self, handle: WorkerHandle) -> bool:
        """A worker can serve. Returns whether it is the canary's: its generation has not proved anything yet."""
        if self._trial is not None:
            self._trial.tallies.came(handle)
        return self._is_canary(handle.generation)

    def worker_gone(self, link: WorkerLink, now: float) -> None:
        """A worker was reaped; its link is still there."""
        if self._trial is not None:
            self._trial.tallies.went(link, now)

    def worker_died(self, handle: WorkerHandle, status: int, now: float) -> bool:
        """A worker ended that should not have, and is forgotten. `status` as waitpid gives it. Returns whether it was
        the canary's, so that nobody need come after it."""
        how = "" if handle.ready_at is not None else " before it was ready"
        return self.failed(handle.generation, f"{handle} died{how}: {process.exit_words(status)}", now)

    def mold_died(self, mold: MoldHandle, status: int, now: float) -> bool:
        """A mold ended that should not have. Returns whether it was the canary's."""
        words = process.exit_words(status)
        if mold.generation == self._roster.generation:
            self.call_off(f"{mold} died, and only newer code can come after it", now)
        return self.failed(
            mold.generation, f"{mold} died{'' if mold.ready else ' as it imported the app'}: {words}", now
        )

    def failed(self, generation: int, reason: str, now: float) -> bool:
        """A generation cannot go on. Returns whether it was the canary's, which then is rolled back."""
        if not self._is_canary(generation):
            return False
        if self._trial is None:
            self._roll_back(reason, None, now)
        else:
            old, new = self._tallies(self._trial, now)
            self._roll_back(reason, canary.judge(old, new, SECONDS), now)
        return True

    def call_off(self, reason: str, now: float) -> None:
        """End the canary without a verdict, if there is one: its workers drain."""
        if self._roster.canary is not None:
            self._dismiss(self._end("called off", reason, None), now)

    def stop(self) -> None:
        """The server stops: all its workers drain alike."""
        if self._roster.canary is not None:
            self._end("called off", "the server stops", None)

    def status(self, now: float) -> CanaryStatus | None:
        """What there is to tell of it."""
        wish, trial = self._roster.canary, self._trial
        if wish is None:
            return None
        if trial is None:
            return CanaryStatus(
                generation=wish.generation, share=wish.share, left=self._settings.canary_seconds, state="booting"
            )
        old, new = self._tallies(trial, now)
        return CanaryStatus(
            generation=wish.generation,
            share=wish.share,
            left=max(0.0, trial.until - now),
            state="serving",
            requests=new.requests,
            errors=new.errors,
            old_requests=old.requests,
            old_errors=old.errors,
        )

    # -- what is refused

    def _refusal(self, share: float) -> str:
        settings = self._settings
        if not 0 < share < 1:
            return f"{percent(share)} is no share for a canary: it is more than 0% and less than 100%"
        if not settings.metrics:
            return "a canary is judged by what its requests are counted as: it does not go with --no-metrics"
        if settings.balance == "kernel":
            return "the kernel gives no shares: a canary does not go with --balance kernel"
        if not settings.preload:
            return "without --preload an old worker that is replaced has the new code too: there can be no canary"
        if settings.reload:
            return "with --reload each change of a file is served at once: there can be no canary"
        if self._roster.canary is not None:
            return f"generation {self._roster.canary.generation} is a canary already; wait for its verdict, or reload"
        if not self._generations.proven:
            return "the server still boots"
        if self._generations.busy:
            return "another reload is going on; try again when it has ended"
        return ""

    # -- the trial

    def _try(self, wish: Canary, now: float) -> None:
        handles = self._roster.in_state(State.READY, State.STALLED)
        split = self._handout.split(wish.generation, wish.share)
        until = now + self._settings.canary_seconds
        self._trial = Trial(split, Tallies(handles, self._places.of, now), until, now + LOOK_SECONDS)
        count = wish.workers(self._roster.wanted)
        _log.info(
            "canary: generation %d gets %s of new connections for %g s, with %d worker%s beside %d",
            wish.generation,
            percent(wish.share),
            self._settings.canary_seconds,
            count,
            "" if count == 1 else "s",
            self._roster.wanted,
            extra=happened("canary", canary={"generation": wish.generation, "share": wish.share, "workers": count}),
        )

    def _tallies(self, trial: Trial, now: float) -> tuple[Tally, Tally]:
        """Of the old generation, and of the new one."""
        links = list(self._links.values())
        of = trial.tallies.of
        return of(self._roster.generation, links, now), of(trial.split.generation, links, now)

    def _final(self, wish: Canary, verdict: Verdict) -> Verdict:
        """Whatever the numbers say, workers that do not answer now are not promoted."""
        stalled = [h for h in self._roster.in_state(State.STALLED) if h.generation == wish.generation]
        if not stalled:
            return verdict
        return Verdict(False, f"{stalled[0]} has stalled", verdict.old, verdict.new)

    def _act(self, verdict: Verdict, now: float) -> None:
        if not verdict.promoted:
            self._roll_back(verdict.reason, verdict, now)
            return
        generation = self._end("promoted", verdict.reason, verdict)
        self._roster.generation = self._generations.proven = generation  # the rest is a reload like any other

    def _roll_back(self, reason: str, verdict: Verdict | None, now: float) -> None:
        self._dismiss(self._end("rolled back", reason, verdict), now)

    def _dismiss(self, generation: int, now: float) -> None:
        """Let go of its workers; their connections go to the old generation."""
        self._molds.abandon_booting(generation)
        for handle in [h for h in self._roster if h.generation == generation and h.active]:
            self._retire(handle, now)

    def _end(self, what: str, reason: str, verdict: Verdict | None) -> int:
        """Say how it ended, and forget it. Returns its generation."""
        wish, trial = self._roster.canary, self._trial
        assert wish is not None
        self._roster.canary = self._trial = None
        self._handout.unite()
        told: dict[str, object] = {
            "generation": wish.generation,
            "share": wish.share,
            "verdict": what,
            "reason": reason,
        }
        text = f"canary: generation {wish.generation} is {what}: {reason}"
        if trial is not None:
            told |= {"connections": trial.split.given, "all_connections": trial.split.new}
            text += f"; it got {trial.split.given:,} of {trial.split.new:,} new connections"
        if verdict is not None:
            told |= {"new": _numbers(verdict.new), "old": _numbers(verdict.old)}
            text += f"; {verdict.new}; generation {self._roster.generation}: {verdict.old}"
        _log.log(LEVELS[what], "%s", text, extra=happened("canary", canary=told))
        return wish.generation

    def _is_canary(self, generation: int) -> bool:
        return self._roster.canary is not None and self._roster.canary.generation == generation


def _numbers(side: Side) -> dict[str, object]:
    """As fields of a JSON log; times in seconds."""
    times = {name: round(getattr(side, name), 6) for name in ("mean", "p50", "p90")}
    return {"requests": side.requests, "errors": side.errors, "error_share": round(side.error_share, 6), **times}
