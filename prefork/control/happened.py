"""What happens to a server, by kind: the field `event` of the log line that tells of it. So who reads the log, or the
events, needs not know how lines are worded."""

from typing import Final, Literal, get_args

from prefork.core.roster import WorkerHandle

Kind = Literal[
    "ready",  # a worker serves
    "stalled",  # its event loop does not turn
    "recovered",  # it turns again
    "drains",  # a worker takes nothing new
    "drained",  # and has ended, with nothing lost
    "killed",  # by us, and why
    "died",  # a worker, mold, admin or watcher ended in another way
    "lost",  # a request, with the worker that died
    "reload",
    "canary",
    "upgrade",
    "scale",
    "stop",  # or drain
]
KINDS: Final[tuple[str, ...]] = get_args(Kind)


def happened(kind: Kind, handle: WorkerHandle | None = None, **more: object) -> dict[str, object]:
    """The `extra` of a log line: what its JSON and its event tell besides the text; of a worker, which one."""
    told: dict[str, object] = {"event": kind}
    if handle is not None:
        told["worker"] = {"slot": handle.slot, "generation": handle.generation, "pid": handle.pid}
    return told | more
