"""How a connection ends: so that the client can read our last answer, and everybody who waits for it is told."""

import asyncio
from enum import Enum, auto
from math import inf
from typing import TYPE_CHECKING, Final

from prefork.errors import Disconnected
from prefork.http.exchange import Exchange
from prefork.http.outgoing import Outgoing

if TYPE_CHECKING:
    from prefork.http.service import Service

LINGER_SECONDS: Final = 5.0  # how long a refused client may take to read why (nginx: lingering_timeout)


class Phase(Enum):
    """What the bytes that arrive next are."""

    HEAD = auto()  # of the next request: nothing is in progress
    EXCHANGE = auto()  # body of the request in progress, then requests that wait
    DRAINING = auto()  # rest of a body whose response is written
    LINGERING = auto()  # nothing we will look at: the answer was the last one
    CLOSED = auto()


_HEAD: Final = Phase.HEAD  # an enum's attributes cost a call each


class Closing(Outgoing):
    """A connection as far as its end is concerned: what it is in the middle of, and until when."""

    __slots__ = ("_at", "_buffer", "_eof", "_exchange", "_task", "deadline", "phase", "service", "was_cut")

    def __init__(self, service: "Service") -> None:
        super().__init__(service.loop)
        self.service = service
        self.phase = _HEAD
        self.deadline = inf  # on the loop's clock; the service sweeps
        self.was_cut = False  # by us, with a request of a client that was there
        self._buffer = b""
        self._at = 0  # bytes of the buffer before this are done with
        self._exchange: Exchange | None = None
        self._task: asyncio.Task[None] | None = None
        self._eof = False

    @property
    def exchange(self) -> Exchange | None:
        """The request in progress, or the one whose body is read over."""
        return self._exchange

    @property
    def left(self) -> bool:
        """Whether the client has closed its side, or is gone."""
        return self._eof or self.lost

    @property
    def in_progress(self) -> str | None:
        """Method and target of the request whose response is not written yet."""
        exchange = self._exchange if self.phase is Phase.EXCHANGE else None
        return f"{exchange.method} {exchange.target.decode('latin-1')}" if exchange is not None else None

    def cut(self) -> None:
        """End now; a handler in progress is cancelled."""
        self.flush()
        if self.phase is Phase.EXCHANGE:
            self.was_cut = not self._eof
            self._transport.abort()  # connection_lost cancels
        else:
            self._transport.close()

    def _linger(self) -> None:
        """Close so that the client can read our last answer: a close with unread input would reset it away."""
        self.flush()
        self._forget_exchange()
        self._buffer = b""
        if self._eof:
            self._close()
            return
        self.phase = Phase.LINGERING
        self.deadline = self.loop.time() + LINGER_SECONDS
        self._resume_reading()
        self._transport.write_eof()

    def _close(self) -> None:
        self.flush()
        self.phase = Phase.CLOSED
        self._transport.close()

    def _forget_exchange(self) -> None:
        if self._exchange is not None and self._exchange.body is not None:
            self._exchange.body.break_off(Disconnected("the connection is gone"))  # for whoever still reads
        self._exchange = None
        self._task = None
