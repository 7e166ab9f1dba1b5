"""Server-sent events (WHATWG HTML, 9.2): a response that stays open and tells the browser what happens."""

import asyncio
import re
from collections.abc import AsyncIterable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from prefork.errors import Disconnected
from prefork.web.exchange import Exchange
from prefork.web.headers import FieldTuple, HeaderInput
from prefork.web.response import Response, build_fields, encode_json
from prefork.web.streaming import iterate

KEEP_ALIVE_SECONDS: Final = 15.0  # proxies cut what is silent for 30 to 60 s
KEEP_ALIVE: Final = b": keep-alive\n\n"  # a comment: the browser drops it

_EVENT_STREAM: FieldTuple = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would hold events back to fill its buffer
)
_LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Event:
    """One event. `data` as str is sent as it is, anything else as JSON; `retry` in milliseconds.

    Raises ValueError when `event` or `id` holds a line end or NUL, or `retry` is negative.
    """

    data: Any = ""
    event: str | None = None
    id: str | None = None
    retry: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("event", self.event), ("id", self.id)):
            if value is not None and re.search(r"[\r\n\0]", value):
                raise ValueError(f"an event's {name} may not hold a line end or NUL: {value!r}")
        if self.retry is not None and self.retry < 0:
            raise ValueError(f"an event's retry is a number of milliseconds, not {self.retry}")

    def encode(self) -> bytes:
        """The event as it is sent."""
        lines = []
        if self.event is not None:
            lines.append(f"event: {self.event}")
        if self.id is not None:
            lines.append(f"id: {self.id}")
        if self.retry is not None:
            lines.append(f"retry: {self.retry}")
        data = self.data if isinstance(self.data, str) else encode_json(self.data).decode()
        lines += [f"data: {line}" for line in _LINE_END.split(data)]
        return ("\n".join(lines) + "\n\n").encode()


EventInput = Event | str | Mapping[str, Any]


class EventStream(Response):
    """Events from an iterator of `Event`, str (the data) or dict (keys `data`, `event`, `id`, `retry`).

    A comment goes out every `keep_alive` seconds, so that proxies keep the connection and a client that is gone is
    noticed; None sends none. The iterator runs in the handler's own task and is closed when the client leaves.
    """

    __slots__ = ("content", "keep_alive")

    streams: ClassVar[bool] = True

    def __init__(
        self,
        content: AsyncIterable[EventInput] | Iterable[EventInput],
        headers: HeaderInput = None,
        keep_alive: float | None = KEEP_ALIVE_SECONDS,
    ) -> None:
        self.body = b""
        self.status = 200  # any other makes the browser give up
        self.fields = build_fields(_EVENT_STREAM, headers, None)
        self.content = content
        self.keep_alive = keep_alive

    async def send(self, exchange: Exchange) -> None:
        exchange.start(self.status, self.fields)
        if exchange.method != "HEAD":
            beat = asyncio.create_task(_beat(exchange, self.keep_alive)) if self.keep_alive else None
            try:
                async with aclosing(iterate(self.content)) as events:
                    async for event in events:
                        await exchange.write(_as_event(event).encode())
            finally:
                if beat is not None:
                    beat.cancel()
        exchange.finish()


def _as_event(item: EventInput) -> Event:
    if isinstance(item, Event):
        return item
    if isinstance(item, str):
        return Event(item)
    return Event(**item)


async def _beat(exchange: Exchange, seconds: float) -> None:
    try:
        while True:
            await asyncio.sleep(seconds)
            await exchange.write(KEEP_ALIVE)
    except Disconnected:
        return  # the exchange's own task is told as well
