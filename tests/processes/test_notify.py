"""What a service manager is told (Type=notify), on a real datagram socket; and how a server takes its leave."""

import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes.patience import GUARD_SECONDS
from tests.processes.proc import Death
from tests.processes.tree import CALM, Tree

pytestmark = pytest.mark.processes

APP = """
import os
from prefork import App

app = App()


@app.get("/environment")
async def environment(request):
    return ",".join(name for name in os.environ if name.startswith(("NOTIFY", "WATCHDOG", "LISTEN", "_PREFORK")))
"""


class Manager:
    """Reads what is told, line by line."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind(str(path))
        self._socket.settimeout(GUARD_SECONDS)
        self.lines: list[str] = []
        self.speakers: dict[str, int] = {}  # the process that said a line last
        self._seen = 0  # lines that were waited for

    def wait(self, pattern: str) -> str:
        """Read on until a line matches, after the last that was waited for. Returns it."""
        while True:
            for place, line in enumerate(self.lines[self._seen :], self._seen + 1):
                if re.fullmatch(pattern, line):
                    self._seen = place
                    return line
            said, ancillary, _, _ = self._socket.recvmsg(4096, socket.CMSG_SPACE(12))
            pid = int.from_bytes(ancillary[0][2][:4], "little")
            lines = said.decode().split("\n")
            self.lines += lines
            self.speakers |= dict.fromkeys(lines, pid)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


def start(tree: Tree, *flags: str, more: tuple[str, ...] = ()) -> None:
    tree.write("shop.py", APP)
    tree.start("shop:app", *flags, *CALM, command=["env", f"NOTIFY_SOCKET={tree.folder}/notify", *more])


def test_a_service_manager_is_told_from_start_to_end_and_through_an_upgrade(tree: Tree, manager: Manager) -> None:
    start(tree, more=("WATCHDOG_USEC=400000",))
    manager.wait("READY=1")
    assert manager.lines[0].startswith("STATUS=booting")
    manager.wait("STATUS=2 workers ready, generation 1")
    manager.wait("WATCHDOG=1")
    assert tree.get("/environment").text == ""
    tree.send_signal(signal.SIGHUP)
    manager.wait("RELOADING=1")
    manager.wait("READY=1")
    old = Death(tree.master)
    before = tree.master
    tree.send_signal(signal.SIGUSR2)
    manager.wait("RELOADING=1")
    new = int(manager.wait(r"MAINPID=\d+").removeprefix("MAINPID="))
    assert set(manager.speakers.values()) == {before}, "the new master was silent until it served"
    manager.wait("READY=1")
    assert manager.speakers["READY=1"] == new
    manager.wait("WATCHDOG=1")
    old.wait()
    assert manager.speakers["WATCHDOG=1"] == new
    assert "STOPPING=1" not in manager.lines
    assert re.search(r"^MONOTONIC_USEC=\d+$", "\n".join(manager.lines), re.MULTILINE)
    tree.master = new
    tree.send_signal(signal.SIGTERM)
    manager.wait("STOPPING=1")


def test_a_bad_unit_environment_is_warned_of_and_the_server_runs_until_its_drain_delay_is_over(tree: Tree) -> None:
    environment = ("WATCHDOG_USEC=soon", "LISTEN_FDS=many", f"LISTEN_PID={os.getpid()}")
    start(tree, "--drain-delay", "0.2", more=environment)
    assert tree.get("/environment").text == ""
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDS"):
        assert len(tree.log.find(rf"{name}=")) == 1
    assert tree.stop() == 0
    tree.log.wait("the stop begins in 0.2 s")


def test_with_a_drain_delay_the_server_says_no_first_and_serves_on(tree: Tree, manager: Manager) -> None:
    start(tree, "--drain-delay", "3600")
    client = tree.client()
    assert client.get("/environment").status == 200
    tree.send_signal(signal.SIGTERM)
    manager.wait("STOPPING=1")
    manager.wait("STATUS=draining, 2 workers still serve")
    reply = client.get("/environment")
    assert reply.status == 200
    assert "connection: close" not in reply.head.lower()
    assert tree.get("/environment").status == 200
    assert tree.stop() == 0  # who asks again ends the delay
