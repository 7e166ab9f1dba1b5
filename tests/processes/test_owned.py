"""What ends a process that belongs to a worker: which signals, and when. No process here: signals are noted."""

import signal

import pytest

from prefork.messages import EndProcess, Message, WantProcess
from prefork.processes.owned import OwnedProcesses

PID = 12345


class Owner:
    def tell(self, message: Message) -> None:
        pass


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The signals that its group is sent."""
    sent: list[int] = []

    def note(leader: int, number: int) -> bool:
        assert leader == PID
        if number:
            sent.append(number)
        return True

    monkeypatch.setattr("prefork.system.process.end_group", note)
    return sent


def one(owner: Owner) -> OwnedProcesses:
    """One process, which is there."""
    owned = OwnedProcesses()
    owned.add(1, owner, WantProcess("child", 7), 1, 0.0)
    assert owned.forked(1, PID, 0.0)
    return owned


def test_it_has_its_grace_between_sigterm_and_sigkill(sent: list[int]) -> None:
    owner = Owner()
    owned = one(owner)
    owned.end(owner, EndProcess("child", 7, 1.0), 10.0)
    owned.tick(10.9)
    assert sent == [signal.SIGTERM, signal.SIGCONT]
    assert list(owned.deadlines()) == [11.0]
    owned.tick(11.0)
    assert sent == [signal.SIGTERM, signal.SIGCONT, signal.SIGKILL]


def test_without_grace_it_gets_sigkill_and_nothing_before_it(sent: list[int]) -> None:
    owner = Owner()
    owned = one(owner)
    owned.end(owner, EndProcess("child", 7, 0.0), 10.0)
    owned.tick(10.0)
    assert sent == [signal.SIGKILL]
    owned.tick(11.0)
    assert sent == [signal.SIGKILL]


def test_a_kill_cuts_its_grace_short(sent: list[int]) -> None:
    owner = Owner()
    owned = one(owner)
    owned.end(owner, EndProcess("child", 7, 5.0), 10.0)
    owned.end(owner, EndProcess("child", 7, 0.0), 11.0)
    owned.tick(11.0)
    assert sent == [signal.SIGTERM, signal.SIGCONT, signal.SIGKILL]
