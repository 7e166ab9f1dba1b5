"""The protocol of sd_notify(3), on real datagram sockets."""

import logging
import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefork.system.notify import Notifier, reloading

PID = 4242


@pytest.fixture
def manager() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.setblocking(False)
        yield end


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_what_is_told_arrives_as_one_datagram(manager: socket.socket, tmp_path: Path, kind: str) -> None:
    name = str(tmp_path / "notify") if kind == "path" else f"@prefork-test-{os.getpid()}"
    manager.bind(name.replace("@", "\0"))
    environment = {"NOTIFY_SOCKET": name, "HOME": "/"}
    notifier = Notifier(environment, PID)
    assert environment == {"HOME": "/"}
    assert notifier
    assert notifier.send("READY=1", "STATUS=2 workers ready")
    assert manager.recv(1000) == b"READY=1\nSTATUS=2 workers ready"
    notifier.close()


def test_without_a_service_manager_nothing_happens(caplog: pytest.LogCaptureFixture) -> None:
    notifier = Notifier({}, PID)
    assert not notifier
    assert not notifier.send("READY=1")
    assert notifier.watchdog_seconds is None
    assert caplog.records == []


def test_a_socket_nobody_listens_to_is_warned_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}, PID)
    with caplog.at_level(logging.DEBUG, "prefork.notify"):
        assert not notifier.send("READY=1")
        assert not notifier.send("READY=1")
    assert [record.levelname for record in caplog.records] == ["WARNING", "DEBUG"]
    assert "no such file" in caplog.text.lower()
    notifier.close()


def test_a_manager_that_does_not_read_holds_nobody_up(manager: socket.socket, tmp_path: Path) -> None:
    manager.bind(str(tmp_path / "notify"))
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")}, PID)
    sent = [notifier.send("X=" + "x" * 1000) for _ in range(1000)]
    assert sent[0]
    assert not sent[-1]
    full = notifier.full
    manager.recv(2000)
    assert notifier.send_surely("READY=1")
    assert (full, notifier.full) == (True, False)
    notifier.close()


@pytest.mark.parametrize("name", ["notify", "@", "vsock:2:1234", "/a\0b"])
def test_a_name_that_is_none_is_warned_of(name: str, caplog: pytest.LogCaptureFixture) -> None:
    assert not Notifier({"NOTIFY_SOCKET": name}, PID)
    assert "NOTIFY_SOCKET" in caplog.text


@pytest.mark.parametrize(
    ("microseconds", "pid", "seconds"),
    [
        ("30000000", str(PID), 30.0),
        ("500000", "", 0.5),
        ("1", "", 0.1),
        ("30000000", "1", None),  # another process's
        ("", str(PID), None),
    ],
)
def test_the_watchdog_is_ours_if_it_says_so(microseconds: str, pid: str, seconds: float | None) -> None:
    environment = {"WATCHDOG_USEC": microseconds, "WATCHDOG_PID": pid}
    assert Notifier(environment, PID).watchdog_seconds == seconds
    assert environment == {}


@pytest.mark.parametrize("microseconds", ["soon", "-5", "0", "1.5", "٣"])
def test_garbage_in_place_of_the_watchdog_is_warned_of(microseconds: str, caplog: pytest.LogCaptureFixture) -> None:
    assert Notifier({"WATCHDOG_USEC": microseconds}, PID).watchdog_seconds is None
    assert f"WATCHDOG_USEC={microseconds}" in caplog.text


def test_a_reload_is_told_with_its_time() -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    first, second = reloading()
    found = re.fullmatch(r"MONOTONIC_USEC=(\d+)", second)
    assert first == "RELOADING=1"
    assert found is not None
    assert before <= int(found[1]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
