"""Everything the processes say to each other. Frozen, with sender and receiver; the wire rebuilds only these, and only
with fields of their types: the master may be root, and app code can write to its worker's or mold's channel.

Connections do not travel in messages but through the hand-out socket, beside which a message is rare.
"""

import json
from dataclasses import asdict, dataclass
from typing import Annotated, get_args

from msgspec import Meta, convert

TEXT_CHARACTERS = 10 * 1024  # of a traceback; at up to 12 bytes each in JSON it fits a message (channel.WIRE_BYTES)

Pid = Annotated[int, Meta(ge=1, lt=1 << 31)]  # of one process: 0 and what is below are whole groups to kill(2)
Index = Annotated[int, Meta(ge=0, lt=256)]  # a byte on its way to a worker (system/handoff.py)
Bytes = Annotated[int, Meta(ge=0, le=1 << 62)]


@dataclass(frozen=True, slots=True)
class MoldReady:
    """mold → master: the app is imported; order workers."""


@dataclass(frozen=True, slots=True)
class Fork:
    """master → mold: fork a worker, which counts in that place of the ledger. Carries the descriptors it is to own, in
    the order of `WorkerStart`."""

    serial: int
    slot: int
    generation: int
    place: int


@dataclass(frozen=True, slots=True)
class ForkProcess:
    """master → mold: fork a process of a role (`processes/roles.py`) for the worker in `slot`, or for all; it counts
    in that place of the ledger. Carries its channel and its stacks file."""

    serial: int
    slot: int | None
    role: str
    place: int


@dataclass(frozen=True, slots=True)
class Forked:
    """mold → master: what was ordered as `serial` is process `pid`, and your child."""

    serial: int
    pid: Pid


@dataclass(frozen=True, slots=True)
class NotForked:
    """mold → master: what was ordered as `serial` could not be forked."""

    serial: int
    reason: str


@dataclass(frozen=True, slots=True)
class BootFailed:
    """mold, worker or actor → master: the app could not be imported, or its start-up hooks or its class raised."""

    traceback: str
    usage: bool = False  # the target itself is wrong: `traceback` is one line for the operator


@dataclass(frozen=True, slots=True)
class Ready:
    """worker or actor → master: the start-up hooks ran, I serve."""


@dataclass(frozen=True, slots=True)
class Leave:
    """worker → master: I was told to go (SIGTERM). Retire me, in order."""


@dataclass(frozen=True, slots=True)
class Room:
    """worker → master: you wait for room, and a connection of mine closed."""


@dataclass(frozen=True, slots=True)
class HandBack:
    """worker → master: an idle connection, for another worker. Carries its descriptor."""

    listener: Index


@dataclass(frozen=True, slots=True)
class WantProcess:
    """worker → master: I need a process of a role, which I call `number`. Carries its channel and its stacks file."""

    role: str
    number: int


@dataclass(frozen=True, slots=True)
class EndProcess:
    """worker → master: end this process and all it has started: SIGTERM, and SIGKILL after `grace` seconds;
    with 0, only that."""

    role: str
    number: int
    grace: float


@dataclass(frozen=True, slots=True)
class ProcessForked:
    """master → worker: what you called `number` is process `pid`."""

    role: str
    number: int
    pid: int


@dataclass(frozen=True, slots=True)
class ProcessGone:
    """master → worker: it ended with `status` (as waitpid gives it), or was never forked: `reason`."""

    role: str
    number: int
    status: int | None
    out_of_memory: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class WantActor:
    """worker → master: connect me to an actor of `count` processes, which I call `number`. Among what the app declares
    it is that `index`, `shared` by all workers or mine alone; without an index its class comes along, in a memfd."""

    number: int
    name: str
    count: int
    shared: bool
    index: int | None = None


@dataclass(frozen=True, slots=True)
class ActorReady:
    """master → worker: each process of the actor you call `number` has started."""

    number: int


@dataclass(frozen=True, slots=True)
class ActorFailed:
    """master → worker: it cannot start, and is not there any more."""

    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class ActorUp:
    """master → worker: one of its processes is there; your seat on its board. Carries your end of a channel to it, a
    duplicate of its own end, its stacks file and its board."""

    number: int
    process: int
    seat: int
    pid: int


@dataclass(frozen=True, slots=True)
class ActorGone:
    """master → worker: that process ended with `status` (as waitpid gives it)."""

    number: int
    process: int
    status: int
    out_of_memory: bool = False


@dataclass(frozen=True, slots=True)
class EndActor:
    """worker → master: end that process, with SIGKILL after `grace` seconds, and start another, if it still runs the
    call that it has begun at `began`: it takes too long. Or, with 0, if it still runs none, though some wait."""

    number: int
    process: int
    grace: float
    began: float


@dataclass(frozen=True, slots=True)
class LeaveActor:
    """worker → master: I need it no more."""

    number: int


@dataclass(frozen=True, slots=True)
class ActorClosed:
    """master → worker: and it is gone, if it was yours alone."""

    number: int


@dataclass(frozen=True, slots=True)
class BeActor:
    """master → actor: what you are, as in `WantActor`. Carries your board, and the class if there is no index."""

    name: str
    index: int | None


@dataclass(frozen=True, slots=True)
class ActorSession:
    """master → actor: somebody is connected to you and has that seat. Carries your end of the channel."""

    seat: int


@dataclass(frozen=True, slots=True)
class WantShared:
    """mold or worker → master: the app asks for `size` bytes of memory of that name. The import waits."""

    name: str
    size: Bytes


@dataclass(frozen=True, slots=True)
class Shared:
    """master → mold or worker: here it is. Carries its descriptor, unless there is a `reason` why not."""

    name: str
    size: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Drain:
    """master → worker: finish what is in progress within `seconds`, then exit. Idle connections go back, or close."""

    hand_back: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class Changed:
    """watcher → master: `path` and `others` more of the watched files changed."""

    path: str
    others: int


@dataclass(frozen=True, slots=True)
class ReloadFailed:
    """master → worker: the code as it is now cannot start; you go on with yours, and your pages show why."""

    traceback: str


@dataclass(frozen=True, slots=True)
class ReloadMended:
    """master → worker: the code starts again; others are about to take your place."""


@dataclass(frozen=True, slots=True)
class ReopenLogs:
    """master → mold or worker: log files were moved away; open them anew by name."""


@dataclass(frozen=True, slots=True)
class Accept:
    """master → worker: accept connections by yourself from now on (balance kernel). Carries the listeners."""


@dataclass(frozen=True, slots=True)
class Estate:
    """master → new master: who I am, and what my connections are, by the index of their listener. So many of my
    listeners follow. `activated`: they came from systemd, and the settings do not count. I have so many `workers`.
    Carries a memfd with my events."""

    pid: int
    generation: int
    families: list[int]
    listeners: int
    activated: bool
    workers: int = 0


@dataclass(frozen=True, slots=True)
class Heirlooms:
    """master → new master: listeners of mine, each as `core/heirlooms.py` describes it. Carries their descriptors."""

    listeners: list[dict[str, object]]


@dataclass(frozen=True, slots=True)
class Complete:
    """new master → master: I am ready to serve, and keep those of your listeners, by their numbers; idle connections of
    yours are welcome or not. Say when."""

    kept: list[int]
    idle: bool


@dataclass(frozen=True, slots=True)
class TakeOver:
    """master → new master: now. I accept no more."""


@dataclass(frozen=True, slots=True)
class Unable:
    """new master → master: I cannot start, and end."""

    reason: str


@dataclass(frozen=True, slots=True)
class Bequest:
    """master → new master: connections for your workers, each with the number of its listener. Carries their
    descriptors."""

    listeners: list[int]


@dataclass(frozen=True, slots=True)
class LogLevel:
    """master → mold or worker: log from this level on, and let what you fork do so."""

    level: str


@dataclass(frozen=True, slots=True)
class Share:
    """master → worker: so many workers share the CPUs from now on (offload_max = auto)."""

    workers: int


@dataclass(frozen=True, slots=True)
class LookAgain:
    """master → admin: what the probes depend on is another than before."""


@dataclass(frozen=True, slots=True)
class Describe:
    """master → worker: tell of your open connections; I call this question `number`."""

    number: int


@dataclass(frozen=True, slots=True)
class Described:
    """worker → master: what you asked for, and how many connections did not fit. Carries a memfd with the list of
    `control/status.py: ClientStatus`, as JSON."""

    number: int
    left_out: int


Message = (
    MoldReady
    | Fork
    | ForkProcess
    | Forked
    | NotForked
    | BootFailed
    | Ready
    | Leave
    | Room
    | HandBack
    | WantProcess
    | EndProcess
    | ProcessForked
    | ProcessGone
    | WantActor
    | ActorReady
    | ActorFailed
    | ActorUp
    | ActorGone
    | EndActor
    | LeaveActor
    | ActorClosed
    | BeActor
    | ActorSession
    | WantShared
    | Shared
    | Drain
    | Changed
    | ReloadFailed
    | ReloadMended
    | ReopenLogs
    | LogLevel
    | Share
    | LookAgain
    | Describe
    | Described
    | Accept
    | Estate
    | Heirlooms
    | Complete
    | TakeOver
    | Unable
    | Bequest
)

_TYPES: dict[str, type[Message]] = {cls.__name__: cls for cls in get_args(Message)}


def encode(message: Message) -> bytes:
    """One message as it goes over the wire."""
    return json.dumps([type(message).__name__, asdict(message)]).encode()


def decode(wire: bytes) -> Message:
    """The message in `wire`. Raises ValueError when it is none of ours."""
    try:
        name, fields = json.loads(wire, parse_constant=_constant)
        kind = _TYPES[name]
        message: Message = convert(fields, kind)
        if len(fields) > len(asdict(message)):
            raise ValueError("there are more fields")
        return message
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"not a prefork message: {wire[:100]!r}") from error


def _constant(name: str) -> float:
    if name == "NaN":  # no time that anything could be due at
        raise ValueError(name)
    return float(name)


def shorten(traceback: str) -> str:
    """A traceback that fits a message; its end tells most."""
    return traceback if len(traceback) <= TEXT_CHARACTERS else "…" + traceback[-TEXT_CHARACTERS:]
