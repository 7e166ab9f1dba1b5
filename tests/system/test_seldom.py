"""What strangers can cause as often as they like is logged now and then, and counted."""

import logging

import pytest

from prefork.system import seldom
from prefork.system.seldom import INTERVAL_SECONDS, Seldom


class Clock:
    """In place of `time`."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


def test_one_line_an_interval_tells_of_all(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    monkeypatch.setattr(seldom, "time", clock)
    tell = Seldom(logging.getLogger("prefork.test"), logging.WARNING)
    for number in range(5):
        tell(f"attack {number}")
    assert caplog.messages == ["attack 0"]
    clock.now += INTERVAL_SECONDS
    tell("attack 5")
    assert caplog.messages[1:] == ["attack 5 (4 more like this before)"]
    clock.now += INTERVAL_SECONDS
    tell("attack 6")
    assert caplog.messages[2:] == ["attack 6"]
