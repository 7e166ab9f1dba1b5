"""Tell the service manager about us: the protocol of sd_notify(3), datagrams to the socket that it named."""

import logging
import socket
import time
from collections.abc import MutableMapping
from typing import Final

LEAST_WATCHDOG_SECONDS: Final = 0.1  # a shorter one would only measure how busy the machine is

ROUNDS: Final = 100  # one second at most, once in a master's life
ROUND_SECONDS: Final = 0.01

_log = logging.getLogger("prefork.notify")


class Notifier:
    """The way to the service manager, if there is one. What cannot be told is logged, and nothing else happens."""

    def __init__(self, environment: MutableMapping[str, str], pid: int) -> None:
        """`pid` is ours. Takes the variables of the protocol out of `environment`: what we start must not speak for us.
        Warns of what is wrong with them."""
        self._address = _address(environment.pop("NOTIFY_SOCKET", ""))
        self.watchdog_seconds = _watchdog_seconds(
            environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", ""), pid
        )
        self.full = False  # the last datagram found no room: the manager has others to read
        self._socket: socket.socket | None = None
        self._failed = False

    def __bool__(self) -> bool:
        """Whether somebody listens, as far as we were told."""
        return bool(self._address)

    def send(self, *lines: str) -> bool:
        """One datagram of `NAME=value` lines. Never waits. Returns whether it was sent."""
        if not self._address:
            return False
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            self._socket.sendto("\n".join(lines).encode(), self._address)
            self.full = False
        except BlockingIOError:
            self.full = True
            return False
        except OSError as error:
            level = logging.DEBUG if self._failed else logging.WARNING
            self._failed = True
            _log.log(level, "cannot tell the service manager at NOTIFY_SOCKET=%s: %s", self._name, error.strerror)
            return False
        return True

    def send_surely(self, *lines: str) -> bool:
        """The same, and wait a while for room."""
        for _ in range(ROUNDS):
            if self.send(*lines) or not self.full:
                break
            time.sleep(ROUND_SECONDS)
        return not self.full

    @property
    def _name(self) -> str:
        return self._address.replace("\0", "@")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def reloading() -> tuple[str, str]:
    """That a reload has begun, as Type=notify-reload wants it: with the time, by which the manager tells it from one
    that was over before."""
    return "RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"


def _address(named: str) -> str:
    """The address for sendto(2); a name that begins with @ is an abstract one (unix(7))."""
    if not named:
        return ""
    if named.startswith("@") and len(named) > 1:
        return "\0" + named[1:]
    if named.startswith("/") and "\0" not in named:
        return named
    _log.warning(
        "NOTIFY_SOCKET=%s is neither a path nor an abstract socket: the service manager is told nothing", named
    )
    return ""


def _watchdog_seconds(microseconds: str, meant_for: str, pid: int) -> float | None:
    """How long the service manager waits between two signs of life, None if it does not (sd_watchdog_enabled(3))."""
    if not microseconds or (meant_for and meant_for != str(pid)):
        return None
    if not (microseconds.isascii() and microseconds.isdigit()) or not int(microseconds):
        _log.warning("WATCHDOG_USEC=%s is no number of microseconds: there are no signs of life", microseconds)
        return None
    return max(int(microseconds) / 1e6, LEAST_WATCHDOG_SECONDS)
