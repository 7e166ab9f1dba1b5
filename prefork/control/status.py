"""What a server tells of itself: one struct for each thing, as JSON on the control socket and in `/status`.

Times in `…_at` are seconds of the epoch, ages and durations are in seconds, sizes in bytes. Counts that only grow are
sums since the server was started: who wants a rate takes the difference of two.
"""

from typing import Literal

from msgspec import Struct, field

ServerState = Literal["booting", "ready", "draining", "stopping"]


class WorkerStatus(Struct, frozen=True, kw_only=True):
    """One worker. While a slot is replaced it has two."""

    slot: int
    generation: int
    pid: int | None  # None until it is forked
    state: str  # see docs/lifecycle.md
    age: float  # since it was ordered
    beat_age: float | None  # since its event loop last told that it turns; None before it is ready
    connections: int  # open
    in_flight: int  # requests
    oldest: float  # age of the oldest of these, 0 without
    busy: float  # share of the last beats that its event loop or its threads were at work, 0 to 1
    lag: float  # how late its event loop came round last
    lag_peak: float = 0.0  # the most of the last second, or two
    rss: int
    cpu: float  # seconds of user and system time
    retiring: str = ""  # why it is to be replaced, or drains
    canary: bool = False


class SlotStatus(Struct, frozen=True, kw_only=True):
    """What the workers of one slot have counted together, those that are gone among them."""

    slot: int
    requests: int
    errors: int  # of these, answered with 5xx
    seconds: float  # of all requests together
    buckets: list[int]  # requests by time, see `ServerStatus.bounds`; the last one is what took longer
    restarts: int


class JobsStatus(Struct, frozen=True, kw_only=True):
    """Offloaded jobs of all workers."""

    waiting: int = 0
    running: int = 0
    offloaders: int = 0
    ended: dict[str, int] = field(default_factory=dict)  # by how: done, failed, timed out, cancelled, crashed, refused
    wait_buckets: list[int] = field(default_factory=list)
    run_buckets: list[int] = field(default_factory=list)


class ConnectionsStatus(Struct, frozen=True, kw_only=True):
    """What became of connections."""

    open: int = 0
    waiting: int = 0  # accepted, and nobody may take them yet
    accepted: int = 0
    handed_out: int = 0
    taken_back: int = 0
    handed_back: int = 0
    refused: int = 0


class CanaryStatus(Struct, frozen=True, kw_only=True):
    """A canary reload in progress."""

    generation: int
    share: float
    left: float  # until the verdict
    state: Literal["booting", "serving"] = "serving"
    requests: int = 0  # of the new generation since it has served
    errors: int = 0  # of these, answered with 5xx or lost
    old_requests: int = 0  # of the old generation, in the same time
    old_errors: int = 0


class MoldStatus(Struct, frozen=True, kw_only=True):
    generation: int
    pid: int
    ready: bool
    age: float


class ServerStatus(Struct, frozen=True, kw_only=True):
    """`prefork status`: everything but the lists that may be long."""

    name: str
    version: str
    target: str
    pid: int
    state: ServerState
    generation: int
    started_at: float
    now: float  # seconds of the epoch
    cpus: int
    wanted: int  # workers
    low: int
    high: int
    addresses: list[str]
    admin: str | None
    bounds: list[float]  # of all buckets, seconds
    workers: list[WorkerStatus]
    slots: list[SlotStatus]
    molds: list[MoldStatus]
    connections: ConnectionsStatus
    jobs: JobsStatus
    canary: CanaryStatus | None = None
    upgrading: bool = False
    lost_lines: int = 0  # of the log and the access log


class RequestStatus(Struct, frozen=True, kw_only=True):
    """A request in flight; its target without the query, which may hold what is secret."""

    slot: int
    pid: int | None
    request: str
    age: float


class ClientStatus(Struct, frozen=True, kw_only=True):
    """An open connection, as its worker tells when asked."""

    slot: int
    client: str
    state: str  # idle, request, websocket, closing …
    age: float
    idle: float
    requests: int
    request: str | None = None


class ConnectionsReport(Struct, frozen=True, kw_only=True):
    """`prefork connections`."""

    requests: list[RequestStatus]
    clients: list[ClientStatus]
    left_out: int = 0  # clients, past what one answer holds
    silent: list[int] = field(default_factory=list)  # slots whose workers did not answer


class JobStatus(Struct, frozen=True, kw_only=True):
    """A job, or a call of an actor, as of its worker's last beat."""

    slot: int
    number: int
    name: str
    state: str
    age: float  # since it was submitted
    runs: float  # since it was given to a process; 0 while it waits
    pid: int | None = None
    actor: str | None = None
    request: str | None = None


class ChildStatus(Struct, frozen=True, kw_only=True):
    """A program, fork, offloader or process of an actor."""

    slot: int | None
    role: str
    pid: int | None
    name: str
    age: float
    rss: int = 0
    cpu: float = 0.0


class EventStatus(Struct, frozen=True, kw_only=True):
    """Something the master did or saw: a line of its log. `fields` are those of a JSON log: `event` says what happened,
    see `control/happened.py`, and `worker` to whom."""

    number: int  # counts up, for who asks for what is new
    at: float
    level: str
    source: str  # logger
    text: str
    fields: dict[str, object] = field(default_factory=dict)


class StackStatus(Struct, frozen=True, kw_only=True):
    """The Python stacks of one process, as faulthandler writes them: the latest call of each thread first."""

    slot: int | None
    role: str
    pid: int
    name: str
    text: str


class Done(Struct, frozen=True, kw_only=True):
    """What a command has begun, in a line."""

    done: str
