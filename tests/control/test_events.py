"""The ring of events: what is kept, what is dropped, and that the log's level does not matter."""

import logging
from collections.abc import Iterator
from typing import cast

import pytest

from prefork.control import events as ring
from prefork.control.events import EVENTS, FIELDS, OF_A_KIND, EventHandler, Events


def add(events: Events, text: str, kind: object = None) -> None:
    events.add(0.0, "info", "prefork.test", text, {}, text if kind is None else kind)


def test_the_latest_are_kept() -> None:
    events = Events()
    for number in range(EVENTS + 10):
        add(events, f"event {number}")
    found = events.since(None, EVENTS * 2)
    assert len(found) == EVENTS
    assert (found[0].text, found[-1].text) == ("event 10", f"event {EVENTS + 9}")
    assert [event.text for event in events.since(None, 2)] == [f"event {EVENTS + 8}", f"event {EVENTS + 9}"]
    assert events.since(None, 0) == []


def test_who_follows_gets_each_once_and_in_order() -> None:
    events = Events()
    seen: list[int] = []
    for number in range(10):
        add(events, f"event {number}")
        seen += [event.number for event in events.since(seen[-1] if seen else 0, 3)]
    assert seen == list(range(1, 11))
    assert [event.number for event in events.since(2, 3)] == [3, 4, 5]
    assert events.since(10, 3) == []


def test_what_is_said_again_and_again_does_not_push_out_the_rest() -> None:
    events = Events()
    add(events, "the one that tells why")
    for number in range(EVENTS * 2):
        add(events, f"worker {number} died", kind="worker %d died")
    found = events.since(None, EVENTS)
    assert found[0].text == "the one that tells why"
    assert len(found) == OF_A_KIND + 1
    assert found[-1].text == f"worker {EVENTS * 2 - 1} died"


def test_long_ones_are_cut_and_all_together_have_a_bound() -> None:
    events = Events()
    for number in range(300):
        add(events, f"{number} " + "x" * ring.TEXT_CHARACTERS * 2)
    found = events.since(None, EVENTS)
    assert all(len(event.text) == ring.TEXT_CHARACTERS + 1 for event in found)
    assert len(found) == ring.ALL_CHARACTERS // (ring.TEXT_CHARACTERS + 1)


@pytest.fixture
def handler() -> Iterator[EventHandler]:
    logger = logging.getLogger("prefork")
    before = logger.handlers, logger.level
    handler = EventHandler(Events())
    yield handler
    logger.handlers, level = before
    logger.setLevel(level)


class Kept(logging.Handler):
    """A log file."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def test_info_is_an_event_whatever_the_log_shows(handler: EventHandler) -> None:
    file, log = Kept(), logging.getLogger("prefork.supervisor")
    logging.getLogger("prefork").handlers = [file]
    handler.attach(file, "error")
    log.debug("no event")
    log.info("worker %d is ready", 3, extra={"slot": 3, "reason": ["a", "list"]})
    log.error("in both")
    assert file.lines == ["in both"]
    first, second = handler.events.since(None, 10)
    assert (first.level, first.source, first.text) == ("info", "prefork.supervisor", "worker 3 is ready")
    assert first.fields == {"slot": 3, "reason": "['a', 'list']"}
    assert second.text == "in both"
    handler.set_level("debug")
    log.debug("now in the log")
    assert file.lines[-1] == "now in the log"
    assert handler.events.since(None, 10)[-1].text == "in both"


def test_a_traceback_is_part_of_its_event(handler: EventHandler) -> None:
    file = Kept()
    logging.getLogger("prefork").handlers = [file]
    handler.attach(file, "info")
    try:
        raise ZeroDivisionError("by zero")
    except ZeroDivisionError:
        logging.getLogger("prefork.test").exception("it failed")
    (event,) = handler.events.since(None, 10)
    assert event.text.startswith("it failed\nTraceback")
    assert event.text.endswith("ZeroDivisionError: by zero")


def test_another_ring_goes_on_from_what_was_dumped() -> None:
    old, new = Events(), Events()
    for number in range(1, 4):
        old.add(float(number), "warning", "prefork.test", f"event {number}", {"slot": number}, "kind")
    new.restore(old.dump())
    add(new, "mine")
    assert new.since(None, 10)[:3] == old.since(None, 10)
    assert [event.number for event in new.since(None, 10)] == [1, 2, 3, 4]


@pytest.mark.parametrize("dumped", [b"", b"{}", b'[{"number": "x"}]'])
def test_what_is_no_dump_is_refused(dumped: bytes) -> None:
    events = Events()
    with pytest.raises(ValueError, match="not events"):
        events.restore(dumped)
    assert events.since(None, 10) == []


def test_fields_within_fields_stay_and_have_an_end() -> None:
    events = Events()
    worker = {"slot": 3, "pid": 100, "more": {"deep": {"deeper": [1]}}}
    events.add(
        1.0, "info", "test", "text", {"event": "died", "worker": worker, "many": dict.fromkeys(map(str, range(99)))}, 0
    )
    (event,) = events.since(None, 1)
    assert event.fields["event"] == "died"
    assert event.fields["worker"] == {"slot": 3, "pid": 100, "more": {"deep": "{'deeper': [1]}"}}
    assert len(cast(dict[str, object], event.fields["many"])) == FIELDS
