"""The master's record of its workers. Bookkeeping only: no process is touched here."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil

from prefork.core.backoff import Backoff
from prefork.core.lifecycle import Event, State, move


@dataclass(eq=False)
class WorkerHandle:
    """What was reported of one worker, by message, scoreboard or waitpid. Times are monotonic seconds."""

    serial: int  # never used twice, unlike slot and pid
    slot: int
    generation: int
    ordered_at: float
    state: State = State.BOOTING
    pid: int | None = None  # None until the mold reports the fork
    ready_at: float | None = None
    drain_until: float | None = None
    aborted_at: float | None = None  # SIGABRT was sent: it hung
    killed: bool = False
    retiring: str = ""  # why it is to be replaced; its replacement is ready before it drains
    handed: int = 0  # connections given to it and not taken back

    def __str__(self) -> str:
        return f"worker {self.slot} (generation {self.generation}, pid {self.pid})"

    @property
    def active(self) -> bool:
        """Whether it holds its slot: it serves, or will."""
        return self.state in (State.BOOTING, State.READY, State.STALLED)

    def apply(self, event: Event) -> None:
        self.state = move(self.state, event)


@dataclass(frozen=True, slots=True)
class Canary:
    """The wish for a generation on trial, beside the one that serves."""

    generation: int
    share: float  # of new connections

    def workers(self, wanted: int) -> int:
        """How many of it: its share of the wanted ones, rounded up."""
        return ceil(Fraction(str(self.share)) * wanted)


@dataclass
class Roster:
    """The wish (how many workers, of which generation) beside the fact (the handles)."""

    wanted: int
    generation: int = 1
    handles: list[WorkerHandle] = field(default_factory=list)
    backoffs: dict[int, Backoff] = field(default_factory=dict)
    canary: Canary | None = None
    started: Counter[int] = field(default_factory=Counter)  # workers that were ever ordered, by slot
    _serial: int = 0

    def __iter__(self) -> Iterator[WorkerHandle]:
        return iter(self.handles)

    def add(self, slot: int, generation: int, now: float) -> WorkerHandle:
        """A fork was ordered."""
        handle = WorkerHandle(self.next_serial(), slot, generation, now)
        self.handles.append(handle)
        self.started[slot] += 1
        return handle

    def next_serial(self) -> int:
        """A number for something that is ordered from a mold; never used twice."""
        self._serial += 1
        return self._serial

    def remove(self, handle: WorkerHandle) -> None:
        """It was reaped."""
        handle.apply(Event.EXITED)
        self.handles.remove(handle)

    def of_slot(self, slot: int) -> list[WorkerHandle]:
        return [handle for handle in self.handles if handle.slot == slot]

    def in_state(self, *states: State) -> list[WorkerHandle]:
        return [handle for handle in self.handles if handle.state in states]

    def by_serial(self, serial: int) -> WorkerHandle | None:
        return next((handle for handle in self.handles if handle.serial == serial), None)

    def by_pid(self, pid: int) -> WorkerHandle | None:
        return next((handle for handle in self.handles if handle.pid == pid), None)

    def backoff(self, slot: int) -> Backoff:
        return self.backoffs.setdefault(slot, Backoff())

    @property
    def wanted_generations(self) -> set[int]:
        """The one we want, and the one on trial."""
        return {self.generation} if self.canary is None else {self.generation, self.canary.generation}

    @property
    def settled(self) -> bool:
        """Whether no worker of a generation that we do not want any more still holds its slot."""
        return all(handle.generation in self.wanted_generations for handle in self.handles if handle.active)

    @property
    def complete(self) -> bool:
        """Whether every wanted slot has a worker that is ready."""
        ready = {handle.slot for handle in self.handles if handle.state is State.READY}
        return ready.issuperset(range(self.wanted))
