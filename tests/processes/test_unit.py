"""What a service manager is told, by a clock of the test's."""

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from prefork.processes.unit import Unit, View
from prefork.system.notify import Notifier

PID = 4242
SERVING = View("ready", ready=2, wanted=2, generation=3, reloading=False, heir=None, ends=False)
BOOTING = replace(SERVING, state="booting", ready=1)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(tmp_path / "notify"))
        end.setblocking(False)
        yield end


@pytest.fixture
def notifier(manager: socket.socket) -> Iterator[Notifier]:
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "10000000"}, PID)
    yield notifier
    notifier.close()


def told(manager: socket.socket) -> list[str]:
    """The lines since the last time, but for times and signs of life."""
    lines: list[str] = []
    while True:
        try:
            lines += manager.recv(4096).decode().split("\n")
        except BlockingIOError:
            return [line for line in lines if not line.startswith("MONOTONIC_USEC=") and line != "WATCHDOG=1"]


@pytest.mark.parametrize(
    ("view", "line"),
    [
        (BOOTING, "booting, 1 of 2 workers ready"),
        (SERVING, "2 workers ready, generation 3"),
        (replace(SERVING, ready=1, wanted=1), "1 worker ready, generation 3"),
        (replace(SERVING, ready=1), "1 of 2 workers ready, generation 3"),
        (replace(SERVING, reloading=True), "2 workers ready, generation 3, reloading"),
        (replace(SERVING, reloading=True, heir=77), "2 workers ready, generation 3, upgrading to master 77"),
        (replace(SERVING, state="draining"), "draining, 2 workers still serve"),
        (replace(SERVING, state="draining", ready=1), "draining, 1 worker still serves"),
        (replace(SERVING, state="stopping"), "stopping, finishing open requests"),
    ],
)
def test_the_status_is_one_line(view: View, line: str) -> None:
    assert view.line == line


def test_changes_are_told_and_nothing_twice(manager: socket.socket, notifier: Notifier) -> None:
    unit = Unit(notifier, silent=False)
    unit.look(0.0, BOOTING)
    assert told(manager) == ["STATUS=booting, 1 of 2 workers ready"]
    unit.look(1.0, SERVING)
    unit.look(1.1, SERVING)
    assert told(manager) == ["READY=1", "STATUS=2 workers ready, generation 3"]
    unit.look(2.0, replace(SERVING, reloading=True))
    assert told(manager) == ["RELOADING=1", "STATUS=2 workers ready, generation 3, reloading"]
    unit.look(3.0, replace(SERVING, generation=4))
    assert told(manager) == ["READY=1", "STATUS=2 workers ready, generation 4"]


def test_to_drain_is_to_stop_only_if_it_ends(manager: socket.socket, notifier: Notifier) -> None:
    unit = Unit(notifier, silent=False)
    unit.look(0.0, SERVING)
    told(manager)
    unit.look(1.0, replace(SERVING, state="draining"))
    assert told(manager) == ["STATUS=draining, 2 workers still serve"]
    unit.look(2.0, replace(SERVING, state="draining", ends=True))
    assert told(manager) == ["STOPPING=1"]
    unit.look(3.0, replace(SERVING, state="stopping", ready=1))
    assert told(manager) == ["STATUS=stopping, finishing open requests"]


def test_signs_of_life_come_at_half_the_time_of_the_watchdog(manager: socket.socket, notifier: Notifier) -> None:
    unit = Unit(notifier, silent=False)
    for now, comes in ((0.0, True), (4.9, False), (5.0, True), (9.9, False), (11.0, True)):
        unit.look(now, SERVING)
        lines = b""
        while True:
            try:
                lines += manager.recv(4096)
            except BlockingIOError:
                break
        assert (b"WATCHDOG=1" in lines) is comes, now
    assert list(unit.deadlines()) == [16.0]


def test_a_master_is_silent_until_it_serves_and_after_it_has_handed_over(
    manager: socket.socket, notifier: Notifier
) -> None:
    new = Unit(notifier, silent=True)
    new.look(0.0, SERVING)
    assert told(manager) == []
    assert list(new.deadlines()) == []
    new.speak()
    new.look(1.0, SERVING)
    assert told(manager) == ["READY=1", "STATUS=2 workers ready, generation 3"]
    new.hand_over(77)
    assert told(manager) == ["MAINPID=77", "STATUS=upgraded, master 77 serves"]
    new.look(2.0, replace(SERVING, state="stopping"))
    assert told(manager) == []


def test_what_the_manager_has_no_room_for_is_told_later(manager: socket.socket, notifier: Notifier) -> None:
    unit = Unit(notifier, silent=False)
    while notifier.send("X=1"):
        pass
    unit.look(0.0, SERVING)
    unit.look(0.1, replace(SERVING, reloading=True))
    assert min(unit.deadlines()) == pytest.approx(0.2)
    told(manager)
    unit.look(0.2, SERVING)
    assert told(manager) == ["READY=1", "RELOADING=1", "READY=1", "STATUS=2 workers ready, generation 3"]
    assert list(unit.deadlines()) == [5.0]


def test_a_hand_over_that_fails_is_taken_back(manager: socket.socket, notifier: Notifier) -> None:
    unit = Unit(notifier, silent=False)
    unit.look(0.0, SERVING)
    unit.hand_over(77)
    unit.take_back()
    told(manager)
    unit.look(1.0, SERVING)
    assert told(manager) == ["STATUS=2 workers ready, generation 3"]
