"""Decide how a server takes its leave: when it tells so, when the stop begins, and when somebody has lost patience."""

from enum import Enum
from typing import Literal


class Step(Enum):
    """What to do now that somebody asked the server to end."""

    WAIT = "wait"  # go on serving, and say that it will not be for long
    STOP = "stop"  # accept no more, finish what is open
    KILL = "kill"  # end everybody at once
    NOTHING = "nothing"


class Departure:
    """The way of one server from its start to its end. Times are monotonic seconds."""

    def __init__(self, delay: float) -> None:
        """`delay`: seconds between the wish to stop and the stop (--drain-delay)."""
        self.serves = False  # its first generation was complete
        self.stopping = False
        self.stop_at: float | None = None  # the stop begins then
        self._delay = delay
        self._draining_since: float | None = None
        self._handed_over = False

    @property
    def state(self) -> Literal["booting", "ready", "draining", "stopping"]:
        """The server's state, as `/readyz` and `prefork status` have it."""
        if self.stopping:
            return "stopping"
        if self._draining_since is not None:
            return "draining"
        return "ready" if self.serves else "booting"

    @property
    def ends(self) -> bool:
        """Whether the stop has begun, or will when its delay has passed."""
        return self.stopping or self.stop_at is not None

    def drain(self, now: float) -> None:
        """Say from now on that it will not be for long; a stop may then come without delay."""
        if self._draining_since is None:
            self._draining_since = now

    def ask(self, now: float, hurry: bool = False) -> Step:
        """Somebody wants the server to end, `hurry`: without delay. Whoever asks once more has lost patience."""
        if self.stopping:
            patient, self._handed_over = self._handed_over, False
            return Step.NOTHING if patient and not hurry else Step.KILL
        impatient = self.stop_at is not None
        if self.serves and self._delay and not hurry and not impatient:
            self.drain(now)
            assert self._draining_since is not None
            self.stop_at = self._draining_since + self._delay
            if self.stop_at > now:
                return Step.WAIT
        self.stopping = True
        return Step.STOP

    def due(self, now: float) -> bool:
        """Whether the stop begins now, because its delay has passed. True once."""
        if self.stopping or self.stop_at is None or now < self.stop_at:
            return False
        self.stopping = True
        return True

    def hand_over(self) -> None:
        """Another master serves from now on. The first who asks us to end means both, and has not lost patience."""
        self.stopping = self._handed_over = True
