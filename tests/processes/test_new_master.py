"""What the old master does with a new one that does not come up: by a clock of the test's; programs play the new."""

import os
import selectors
import sys
from collections.abc import Iterator, Sequence

import pytest

from prefork.control.later import Later
from prefork.errors import CommandError
from prefork.messages import Estate
from prefork.processes.origin import Origin
from prefork.processes.upgrade import END_SECONDS, START_SECONDS, Upgrade
from tests.processes.patience import GUARD_SECONDS
from tests.processes.proc import Death

BOOT_SECONDS = 5.0
LIMIT = START_SECONDS + 2 * BOOT_SECONDS


class Old:
    """An upgrade without a server around it."""

    def __init__(self, program: str, *arguments: str, folder: str = "/") -> None:
        self.selector = selectors.DefaultSelector()
        self.announced: list[int | None] = []
        origin = Origin(program, [program, *arguments], folder, {})
        self.upgrade = Upgrade(
            origin, self.selector, BOOT_SECONDS, self.announced.append, lambda kept, idle: None, lambda: None
        )
        self.outcomes: list[object] = []
        outcome: Later = self.upgrade.begin(Estate(os.getpid(), 1, [], 0, False), b"[]", [], 0.0)
        outcome.then(self.outcomes.append)
        self.pid = self.upgrade.pid or 0

    def serve_events(self) -> None:
        """What the loop does once."""
        for key, _ in self.selector.select(GUARD_SECONDS):
            key.data()

    def reap(self) -> str:
        """Wait for its death. Returns why the upgrade failed."""
        Death(self.pid).wait()
        pid, status = os.waitpid(self.pid, 0)
        assert self.upgrade.reaped(pid, status)
        assert not self.upgrade
        (failed,) = self.outcomes
        assert isinstance(failed, CommandError)
        return str(failed)


@pytest.fixture
def started() -> Iterator[list[Old]]:
    started: list[Old] = []
    yield started
    for old in started:
        old.selector.close()


def start(started: list[Old], program: str, arguments: Sequence[str], folder: str = "/") -> Old:
    old = Old(program, *arguments, folder=folder)
    started.append(old)
    return old


def test_one_that_takes_too_long_is_ended(started: list[Old]) -> None:
    old = start(started, "/bin/sleep", ["3600"])
    old.upgrade.tick(LIMIT - 0.1)
    before = old.upgrade.boots
    assert LIMIT in list(old.upgrade.deadlines(0.0))
    old.upgrade.tick(LIMIT)
    assert (before, old.upgrade.boots) == (True, False)
    assert f"it was not ready within {LIMIT:g} s" in old.reap()
    assert list(old.upgrade.deadlines(LIMIT)) == []
    assert old.announced == []


def test_one_that_does_not_end_when_told_is_killed(started: list[Old]) -> None:
    old = start(started, "/bin/sh", ["-c", "trap '' TERM; kill -STOP $$; while :; do sleep 1; done"])
    os.waitid(os.P_PID, old.pid, os.WSTOPPED)
    old.upgrade.abandon("the server stops", 1.0)
    old.upgrade.tick(1.0 + END_SECONDS)
    assert old.reap() == "the upgrade was given up: the server stops"


def test_one_that_cannot_be_run_says_so(started: list[Old]) -> None:
    old = start(started, "/no/such/interpreter", [])
    assert "/no/such/interpreter: no such file or directory" in old.reap()
    old = start(started, "/bin/true", [], folder="/no/such/folder")
    assert "/no/such/folder: no such file or directory" in old.reap()


def test_one_that_ends_without_a_word_is_told_by_its_status(started: list[Old]) -> None:
    old = start(started, "/bin/sh", ["-c", "exit 7"])
    assert "(exit status 7): the lines above may tell why" in old.reap()


def test_one_that_speaks_another_language_is_killed(started: list[Old]) -> None:
    says = "import os, socket; socket.socket(fileno=int(os.environ['_PREFORK_UPGRADE'])).send(b'hello'); os.read(0, 1)"
    old = start(started, sys.executable, ["-c", says + "; import time; time.sleep(3600)"])
    old.serve_events()
    assert "(signal SIGKILL): it speaks another language" in old.reap()
