"""What can become of a child that was forked: it disconnects, it exits, it crashes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Disconnected:
    """One side has called `disconnect()`, or closed its channel, and the process is not gone: it may run on."""


@dataclass(frozen=True, slots=True)
class Exited:
    """The process is gone, by itself or because we ended it.

    `status` is its exit status; negative: the signal by which it was ended on our side (`terminate`, `kill`, the end
    of `async with`, of the request or of the program).
    """

    status: int


@dataclass(frozen=True, slots=True)
class Crashed:
    """The process is gone, and nobody here had asked for it.

    `signal` is what killed it, or None: then `error` is what the target has raised, with its traceback there as
    `__cause__`. `stack` is what Python was doing when the signal came, as far as faulthandler could tell.
    """

    signal: int | None
    error: BaseException | None = None
    stack: str = ""
    out_of_memory: bool = False


Event = Disconnected | Exited | Crashed
