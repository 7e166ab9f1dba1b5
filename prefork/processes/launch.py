"""What a master finds when it starts: how it was started, by whom, and which sockets came along."""

from collections.abc import MutableMapping, Sequence
from typing import Final

from prefork.processes.origin import Origin
from prefork.processes.takeover import Predecessor, find_predecessor
from prefork.settings import Settings
from prefork.system.listeners import Left, Listener, open_listeners, systemd_binds
from prefork.system.notify import Notifier


class Launch:
    """Made before the master changes anything about itself."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        """Take out of `environment` what only concerns us. Raises UsageError; see `Predecessor`."""
        self.predecessor: Final[Predecessor | None] = find_predecessor(environment)
        self.origin: Final = Origin.of_this_process(environment)
        self.activated = False  # by systemd: it gave us the listeners

    @property
    def taking_over_from(self) -> int | None:
        """The pid of the master whose place we are to take."""
        return None if self.predecessor is None else self.predecessor.pid

    def listen(self, settings: Settings, environment: MutableMapping[str, str]) -> list[Listener]:
        """Open the listeners, or take what the old master leaves. Raises BindError."""
        predecessor = self.predecessor
        binds = systemd_binds(environment) or (predecessor.activated_binds if predecessor is not None else [])
        self.activated = bool(binds)
        scheme = "https" if settings.tls_cert else "http"
        left = _nothing if predecessor is None else predecessor.left
        return open_listeners(binds or settings.bind, settings.backlog, settings.balance == "kernel", scheme, left)

    def notifier(self, environment: MutableMapping[str, str], pid: int) -> Notifier:
        """The way to the service manager; its variables are taken out. May log."""
        return Notifier(environment, pid)

    def families(self, listeners: Sequence[Listener]) -> list[int]:
        """The address family of connections, by the index of their listener."""
        if self.predecessor is not None:
            return self.predecessor.families(listeners)
        return [listener.socket.family for listener in listeners]


def _nothing(bind: str) -> Left | None:
    return None
