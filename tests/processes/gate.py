"""Where handlers of the test apps wait until the test lets them go: a Unix socket they connect to."""

import select
import socket
import struct
from pathlib import Path

from tests.processes.patience import GUARD_SECONDS

_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid: ucred in unix(7)


class Visitor:
    """One handler that waits."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self.pid: int = _CREDENTIALS.unpack(end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))[0]

    def release(self) -> None:
        """Let it go on."""
        self._end.close()

    def call(self) -> None:
        """Tell it to go on, and to answer."""
        self._end.send(b"!")

    def read(self) -> bytes:
        """What it says before it goes on by itself."""
        said = b""
        while piece := self._end.recv(100):
            said += piece
        return said

    def wait_gone(self) -> None:
        """Wait until it left by itself: it was cancelled, or its process is gone."""
        assert self._end.recv(1) == b""


class Gate:
    """Made in the server's folder before it starts."""

    def __init__(self, folder: Path) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / "gate"))
        self._listener.listen(100)
        self._listener.settimeout(GUARD_SECONDS)
        self._ends: list[socket.socket] = []

    def wait_entered(self) -> Visitor:
        """The next handler that came."""
        end, _ = self._listener.accept()
        end.settimeout(GUARD_SECONDS)
        self._ends.append(end)
        return Visitor(end)

    def nobody_waits(self) -> bool:
        """Whether nobody has come that was not waited for."""
        return not select.select([self._listener], [], [], 0)[0]

    def close(self) -> None:
        for end in (*self._ends, self._listener):
            end.close()
