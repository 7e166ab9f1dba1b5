"""Every error prefork raises, and what its catcher needs: an exit code, a status, or whom to blame."""


class PreforkError(Exception):
    """The root of all errors raised by prefork."""


class UsageError(PreforkError):
    """The operator asked for something that does not exist or is out of bounds. Nothing was started."""

    exit_code = 2


class BootError(PreforkError):
    """The app could not start. Respawning would fail the same way, so the master stops."""

    exit_code = 3


class BindError(PreforkError):
    """An address could not be bound: it is in use, not ours, or not permitted."""

    exit_code = 4


class CommandError(PreforkError):
    """A running server does not do what a command asks for: the reason, in one line. Nothing was changed."""


class RequestError(PreforkError):
    """The client broke HTTP or a limit. Answer with `status`, `fields` and the reason in one line, then close."""

    def __init__(self, status: int, reason: str, fields: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.fields = fields


class ResponseError(PreforkError):
    """The app broke HTTP: a forbidden byte in a header, a body longer or shorter than declared."""


class Disconnected(PreforkError, ConnectionError):
    """The client left before its request was read or its response was written. An OSError: frameworks expect one."""


class WebSocketClosed(Disconnected):
    """There will be no more messages: `code` and `reason` tell why (RFC 6455, 7.4). 1006: the client vanished."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the WebSocket is closed: {code}{f' {reason}' if reason else ''}")
        self.code = code
        self.reason = reason


class Busy(PreforkError):
    """There is no room for more work. Nothing was started; try again in `retry_after` seconds (whole)."""

    status = 503

    def __init__(self, reason: str, retry_after: int = 1) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


class Overdue(PreforkError, TimeoutError):
    """Its time was over."""

    status = 504


class OffloadError(PreforkError):
    """A job did not give a result: what it says why. The root of all errors of offload."""


class Unsendable(OffloadError):
    """A function, argument or result cannot go from one process to another: says which, and what to do."""


class QueueFull(OffloadError, Busy):
    """Too many jobs wait already, or for too long."""


class Timeout(OffloadError, Overdue):
    """The job's time was over, counted from its submission. If it ran, its processes were ended."""


class Cancelled(OffloadError):
    """Somebody else ended the job: the server stops, or `Job.cancel` was called."""


class Crashed(OffloadError):
    """The job's process died under it.

    `cause` is `signal`, `exit`, `memory` (its limit, or the kernel's for lack of memory), `cpu` (its limit) or `lost`
    (a Dask worker, or the way to it; the job may have run in part, or run on).
    `signal` or `exit_status` is what the process ended with, if it did; `stack` what Python was doing then, as far as
    faulthandler could tell.
    """

    def __init__(
        self,
        reason: str,
        cause: str = "signal",
        signal: int | None = None,
        exit_status: int | None = None,
        stack: str = "",
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.cause = cause
        self.signal = signal
        self.exit_status = exit_status
        self.stack = stack


class ChildError(PreforkError):
    """A child could not do what it was asked for: what it says why. The root of all errors of children."""


class ChildrenBusy(ChildError, Busy):
    """As many children run as may, and none ended in time."""


class ActorNotStarted(ChildError):
    """An actor's process could not be made: its class raised, and `reason` has the traceback, or it died. Or all have
    died, and none can be made any more: `reason` tells why."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"actor {name} cannot start: {reason}")
        self.name = name
        self.reason = reason


class ChildTimeout(ChildError, Overdue):
    """The child's time was over; it was ended, with all that it had started."""


class ChildNotStarted(ChildError):
    """There is no such program or folder, no permission, no such user, or no room: says which, and what to do."""


class ChildFailed(ChildError):
    """A program ended with another status than 0, or by a signal: one of `status` and `signal` is set. `stderr` is the
    end of what it wrote there."""

    def __init__(
        self, reason: str, status: int | None = None, signal: int | None = None, stderr: bytes | str = b""
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.signal = signal
        self.stderr = stderr


class OutputTooLarge(ChildError):
    """A program wrote more than it may, and was ended. `stdout` and `stderr` hold what was read, up to the limit."""

    def __init__(self, reason: str, stdout: bytes | str = b"", stderr: bytes | str = b"") -> None:
        super().__init__(reason)
        self.reason = reason
        self.stdout = stdout
        self.stderr = stderr


class ChildDisconnected(ChildError, ConnectionError):
    """There is nobody to talk to (any more): the other side of a fork has disconnected, or its process has ended."""


class ChildCrashed(ChildDisconnected):
    """A forked child was killed by a signal that nobody here had sent, or its target has raised: the `__cause__`.

    `signal` is its number, or None; `stack` is what Python was doing then, as far as faulthandler could tell.
    """

    def __init__(self, reason: str, signal: int | None = None, stack: str = "", out_of_memory: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.signal = signal
        self.stack = stack
        self.out_of_memory = out_of_memory
