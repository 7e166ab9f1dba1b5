"""What the connections of one worker share: app, limits, clock, and the sweep that ends what took too long."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any, Final, Protocol

from prefork.errors import RequestError
from prefork.http.connection import Connection
from prefork.http.encoding import BegunHead, Fields, common_lines
from prefork.http.exchange import Exchange
from prefork.http.forwarded import ForwardedExchange, believing
from prefork.http.head import SPOKE_TLS, HeadParser, Limits
from prefork.http.peer import Peer
from prefork.http.successor import Successor
from prefork.http.trust import Trust
from prefork.settings import Settings
from prefork.system.seldom import Seldom

BEGUN_HEADS: Final = 256  # an app has few constant ones; one with a changing value must not fill memory
LEAVE_SHARE: Final = 0.8  # of the drain time, over which successors leave; the rest is for their closing handshakes
LATE_SWEEP_SECONDS: Final = 0.5  # after a blocked loop, input that came in time has not been read yet: sweep next time

_log = logging.getLogger("prefork.http")


class FlightRecorder(Protocol):
    """Where the requests in flight are written down, for the one who looks after a crash."""

    def opened(self) -> int:
        """A connection has come; returns the index of its record."""

    def closed(self, index: int) -> None:
        """A connection is gone."""

    def began(self, index: int, now: float, head: bytes) -> None:
        """A request has begun (`now` by the monotonic clock, seconds)."""

    def answered(self, index: int, exchange: Exchange) -> None:
        """Its response is written, or will never be."""

    def switched(self, index: int, exchange: Exchange) -> None:
        """It is answered, and another protocol goes on under its record."""

    def ended(self, index: int) -> None:
        """And that is over."""

    def refused(self, status: int) -> None:
        """What came was no request, and was answered so."""

    def waited(self, seconds: float) -> None:
        """So long after it was accepted the first bytes of a connection were read."""


class AccessLog(Protocol):
    """Where answered requests are written down."""

    def answered(self, exchange: Exchange, seconds: float) -> None: ...

    def refused(self, client: tuple[str, int] | None, error: RequestError) -> None: ...


class Service:
    """The HTTP side of a worker."""

    def __init__(
        self,
        app: Callable[[Exchange], Coroutine[Any, Any, None]],
        settings: Settings,
        flight: FlightRecorder,
        access_log: AccessLog | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.app = app
        self.loop = loop or asyncio.get_running_loop()
        self.create_task = self.loop.create_task
        self.context = copy_context()  # what each request finds in its context variables
        self.settings = settings
        self.limits = Limits(settings.max_target, settings.max_headers, settings.max_header_bytes)
        self.exchange: type[Exchange] = Exchange
        self.parse_head: Callable[[bytes, Any], None] = HeadParser(self.limits).parse
        if settings.forwarded_allow:
            self.exchange = ForwardedExchange
            self.parse_head = believing(Trust(settings.forwarded_allow), self.parse_head)
        self.max_body = settings.max_body
        self.keep_alive_seconds = settings.keep_alive_seconds
        self.header_seconds = settings.header_seconds
        self.body_seconds = settings.body_seconds
        self.disconnect_grace_seconds = settings.disconnect_grace_seconds
        self.server_header = settings.server_header
        self.connections: set[Connection | Successor] = set()
        self.draining = False
        self.closing = False  # draining, and nobody takes our connections: each response is its connection's last
        self.hand_back: Callable[[Connection], bool] | None = None
        self.on_empty: Callable[[], None] | None = None
        self.flight = flight
        self.access_log = access_log
        self.now = self.loop.time()  # as of the last sweep
        self.keep_alive_until = self.now + self.keep_alive_seconds  # of a connection that becomes idle now, about
        self._tell_tls = Seldom(_log, logging.WARNING)
        self.date_second = 0
        self.common = b""
        self.begun_heads: dict[tuple[int, Fields], BegunHead] = {}  # of this second, by status and fields
        self._set_date()

    def connection(self, listener: int = 0, peer: Peer | None = None, accepted_at: float = 0.0) -> Connection:
        """The protocol for a connection that was accepted from the listener of that index. `peer` is who is there, if
        more is known than its transport can tell; `accepted_at` in monotonic seconds, 0 if it is not to be told."""
        connection = Connection(self, listener, peer)
        connection.accepted_at = accepted_at
        return connection

    @property
    def sweep_seconds(self) -> float:
        """How often to call `sweep`: fine enough for the shortest limit, never oftener than a worker can afford."""
        pongs, pings = self.settings.websocket_pong_seconds, self.settings.websocket_ping_seconds
        shortest = min(self.keep_alive_seconds, self.header_seconds, self.body_seconds, pongs, pings or pongs)
        return min(0.25, max(0.01, shortest / 4))

    def sweep(self) -> None:
        """End what has passed its deadline. The worker calls it at every tick."""
        now = self.loop.time()
        late = now - self.now > self.sweep_seconds + LATE_SWEEP_SECONDS
        self.now = now
        self.keep_alive_until = now + self.keep_alive_seconds
        self._set_date()
        if late:
            return
        for connection in [c for c in self.connections if c.deadline < now]:
            connection.expired()
        if self.draining:
            self._ask_to_leave()

    def drain(self, hand_back: Callable[[Connection], bool] | None, seconds: float = 0.0) -> None:
        """Take leave of every connection as it becomes idle, and of successors spread over `seconds`: their clients all
        come back, and not all at once.

        `hand_back` gives a connection to another worker and tells whether it could; None closes connections instead.
        """
        self.draining = True
        self.closing = hand_back is None
        self.hand_back = hand_back
        self._ask_to_leave()
        successors = [successor for successor in self.connections if not isinstance(successor, Connection)]
        for place, successor in enumerate(successors):
            wait = seconds * LEAVE_SHARE * place / len(successors)
            if wait:
                self.loop.call_later(wait, successor.leave)
            else:
                successor.leave()
        self.report_empty()

    def _ask_to_leave(self) -> None:
        for connection in [c for c in self.connections if isinstance(c, Connection)]:
            connection.leave()

    def _set_date(self) -> None:
        second = int(time.time())
        if second != self.date_second:
            self.date_second = second
            self.common = common_lines(self.server_header, second)
            self.begun_heads.clear()

    def keep_begun_head(self, status: int, fields: Fields, begun: BegunHead) -> None:
        """Remember the beginning of a response head, until the date changes."""
        if len(self.begun_heads) < BEGUN_HEADS:
            self.begun_heads[status, tuple(fields)] = begun

    def cut(self) -> None:
        """End every connection now. Requests in progress are lost, and named in the log."""
        for connection in list(self.connections):
            if connection.in_progress is not None:
                _log.warning("cut at the drain limit: %s", connection.in_progress)
            connection.cut()

    def report_empty(self) -> None:
        """Tell who waits for it that the last connection is gone."""
        if self.draining and not self.connections and self.on_empty is not None:
            self.on_empty()

    # -- what a connection reports

    def opened(self, connection: Connection) -> float:
        """A connection has come. Returns its first deadline."""
        self.connections.add(connection)
        connection.index = self.flight.opened()
        if self.draining:
            self.loop.call_soon(connection.leave)
        return self.keep_alive_until

    def succeeded(self, connection: Connection, successor: Successor) -> None:
        """A connection is in other hands; its record, with the request that led to this, stays until it closes."""
        self.connections.discard(connection)
        self.connections.add(successor)
        successor.index = connection.index
        if self.draining:
            self.loop.call_soon(successor.leave)

    def closed(self, connection: Connection | Successor) -> None:
        self.connections.discard(connection)
        self.flight.closed(connection.index)
        self.report_empty()

    def successor_closed(self, successor: Successor) -> None:
        """The transport of a successor is gone, and with it what its request began."""
        self.flight.ended(successor.index)
        self.closed(successor)

    def ended(self, connection: Connection, exchange: Exchange) -> None:
        """A request will not be heard of again."""
        self.flight.answered(connection.index, exchange)
        if self.access_log is not None and exchange.status:
            self.log_answered(exchange)

    def log_answered(self, exchange: Exchange) -> None:
        if self.access_log is not None:
            self.access_log.answered(exchange, time.monotonic() - exchange.started_at)

    def refused(self, connection: Connection, error: RequestError) -> None:
        """A request was refused before it became an exchange."""
        self.flight.refused(error.status)
        if error.reason is SPOKE_TLS:
            self._tell_tls(f"TLS on a plain HTTP port, from {(connection.peer.client or ('a unix socket',))[0]}")
        if self.access_log is not None:
            self.access_log.refused(connection.peer.client, error)
