"""The latest that a server did and saw: what its master logs, INFO and up, kept whatever --log-level says."""

import logging
import os
from collections import Counter, OrderedDict
from typing import Final

import msgspec

from prefork.control.status import EventStatus
from prefork.system.log import extra_fields

EVENTS: Final = 2000
OF_A_KIND: Final = 200  # of one line of code: what is said again and again must not push all else out
TEXT_CHARACTERS: Final = 10_000  # of one; a traceback has more rarely, and its end tells most
ALL_CHARACTERS: Final = 2_000_000  # of all together: four times as many bytes at most, and one answer holds them
KIND_CHARACTERS: Final = 60  # of an event whose line of code is not known any more, as it is another master's
FIELDS: Final = 20
FIELD_CHARACTERS: Final = 500
FIELD_DEPTH: Final = 2  # of fields within a field; what is deeper is a text

_NO_DIGITS: Final = str.maketrans("", "", "0123456789")


class Events:
    """The ring. Numbers count up from 1 and have gaps where others of the same kind came later."""

    def __init__(self) -> None:
        self._kept: OrderedDict[int, tuple[EventStatus, object]] = OrderedDict()
        self._of_kind: Counter[object] = Counter()
        self._characters = 0
        self._number = 0

    def add(self, at: float, level: str, source: str, text: str, fields: dict[str, object], kind: object) -> None:
        """Keep one. `kind` is what events that differ only in details have in common."""
        self._number += 1
        if len(text) > TEXT_CHARACTERS:
            text = "…" + text[-TEXT_CHARACTERS:]
        event = EventStatus(number=self._number, at=at, level=level, source=source, text=text, fields=_short(fields))
        self._kept[self._number] = event, kind
        self._of_kind[kind] += 1
        self._characters += _size(event)
        if self._of_kind[kind] > OF_A_KIND:
            self._drop(next(number for number, (_, other) in self._kept.items() if other == kind))
        while len(self._kept) > EVENTS or self._characters > ALL_CHARACTERS:
            self._drop(next(iter(self._kept)))

    def since(self, number: int | None, limit: int) -> list[EventStatus]:
        """At most `limit`, oldest first: the first ones after `number`, or the latest."""
        if number is None:
            return [event for event, _ in list(self._kept.values())[-limit:]] if limit else []
        later = (event for event, _ in self._kept.values() if event.number > number)
        return [event for event, _ in zip(later, range(limit), strict=False)]

    def dump(self) -> bytes:
        """All of them, for `restore` in another master."""
        return msgspec.json.encode(self.since(None, EVENTS))

    def restore(self, dumped: bytes) -> None:
        """Put those of the master before us in front of what comes. Raises ValueError when they cannot be read."""
        try:
            events = msgspec.json.decode(dumped, type=list[EventStatus])
        except msgspec.MsgspecError as error:
            raise ValueError(f"not events: {error}") from None
        for event in events:
            self._number = max(self._number, event.number - 1)
            kind = event.source, event.text[:KIND_CHARACTERS].translate(_NO_DIGITS)
            self.add(event.at, event.level, event.source, event.text, event.fields, kind)

    def clear(self) -> None:
        self._kept.clear()
        self._of_kind.clear()
        self._characters = 0

    def _drop(self, number: int) -> None:
        event, kind = self._kept.pop(number)
        self._characters -= _size(event)
        self._of_kind[kind] -= 1
        if not self._of_kind[kind]:
            del self._of_kind[kind]


class EventHandler(logging.Handler):
    """Feeds the ring from a logger. What is forked does not go on with it."""

    def __init__(self, events: Events) -> None:
        super().__init__(logging.INFO)
        self.events = events
        self._file: logging.Handler | None = None

    def attach(self, file: logging.Handler, level: str) -> None:
        """Listen to prefork's loggers beside `file`, which goes on to get what is of `level` or above."""
        self._file = file
        logger = logging.getLogger("prefork")
        logger.addHandler(self)
        self.set_level(level)
        os.register_at_fork(after_in_child=self._leave)

    def set_level(self, level: str) -> None:
        """Have the log begin with this level from now on."""
        if self._file is not None:
            number = logging.getLevelNamesMapping()[level.upper()]
            self._file.setLevel(number)
            logging.getLogger("prefork").setLevel(min(number, logging.INFO))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
            if record.exc_info:
                text += "\n" + (logging.Formatter().formatException(record.exc_info))
            kind = record.name, str(record.msg)
            self.events.add(record.created, record.levelname.lower(), record.name, text, extra_fields(record), kind)
        except Exception:
            self.handleError(record)

    def _leave(self) -> None:
        """In what was forked: the file alone gets all, from its level on, as it was before us."""
        self.events.clear()
        logger = logging.getLogger("prefork")
        if self._file is not None and self in logger.handlers:
            logger.removeHandler(self)
            logger.setLevel(self._file.level)
            self._file.setLevel(logging.NOTSET)


def _short(fields: dict[str, object], depth: int = FIELD_DEPTH) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in list(fields.items())[:FIELDS]:
        name = str(key)[:FIELD_CHARACTERS]
        if value is None or isinstance(value, bool | int | float):
            found[name] = value
        elif isinstance(value, dict) and depth:
            found[name] = _short(value, depth - 1)
        else:
            found[name] = str(value)[:FIELD_CHARACTERS]
    return found


def _size(event: EventStatus) -> int:
    return len(event.text) + sum(len(key) + len(str(value)) for key, value in event.fields.items())
