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


class RequestError(PreforkError):
    """The client broke HTTP or a limit. Answer with `status` and the reason in one line, then close."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class ResponseError(PreforkError):
    """The app broke HTTP: a forbidden byte in a header, a body longer or shorter than declared."""


class Disconnected(PreforkError):
    """The client left before its request was read or its response was written."""
