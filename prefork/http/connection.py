"""One HTTP/1.1 connection: cuts the bytes into requests, runs one exchange at a time, and takes leave.

What a slow or hostile client can make us hold, per connection: one head (`max_target` + `max_header_bytes`), 64 KiB of
request body or of pipelined requests plus one read of the loop (256 KiB), and one response beyond the transport's
write buffer (64 KiB): the next request is not started, and a streaming app not resumed, until that buffer has drained.
"""

import asyncio
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Final, cast

from prefork.errors import Disconnected, RequestError
from prefork.http.body_reading import BodyReading
from prefork.http.closing import Phase
from prefork.http.encoding import encode_fields, status_line
from prefork.http.exchange import Exchange
from prefork.http.head import HEAD_END, refusal
from prefork.http.incoming import IncomingBody
from prefork.http.peer import Peer, peer_of
from prefork.http.successor import Successor

if TYPE_CHECKING:
    from prefork.http.service import Service

PIPELINED_REQUESTS: Final = 16  # waiting behind the one in progress; past it the socket is not read
READ_AHEAD_BYTES: Final = 64 * 1024  # the same bound for requests that are large
FIRST_REQUEST_SECONDS: Final = 1.0  # a worker that leaves waits this long for what may be on its way to it
LEADING_BLANKS: Final = 16  # bytes of empty lines before a request (RFC 9112, 2.2 asks for one line)

_HEAD, _EXCHANGE, _DRAINING, _LINGERING, _CLOSED = Phase  # module names: an enum's attributes cost a call each


class Connection(BodyReading):
    """The server's side of one client connection."""

    __slots__ = (
        "_blanks",
        "_head_begun",
        "_peer",
        "accepted_at",
        "fresh",
        "index",
        "listener",
        "opened_at",
        "queue_wait",
        "requests",
    )
    stays = False  # with this worker: it cannot be given to another
    encrypted = False

    def __init__(self, service: "Service", listener: int, peer: Peer | None = None) -> None:
        super().__init__(service)
        self.listener = listener  # index of the one it was accepted from
        self.fresh = True  # no request has come yet
        self.requests = 0  # that have begun
        self.opened_at = service.now  # on the loop's clock, as of the last sweep
        self.accepted_at = 0.0  # monotonic seconds, until its first bytes have come
        self.queue_wait = 0.0  # seconds from then until they had
        self.index = -1  # of this connection's record of the request in flight
        self._peer = peer
        self._blanks = 0
        self._head_begun = False

    def __repr__(self) -> str:
        return f"<Connection {self.phase.name} {self._exchange!r} {'fresh' if self.fresh else 'used'}>"

    @property
    def peer(self) -> Peer:
        """Who is at the other end; asked for once, when somebody wants to know."""
        if self._peer is None:
            self._peer = peer_of(self._transport)
        return self._peer

    # -- what the loop reports

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.deadline = self.service.opened(self)

    def data_received(self, data: bytes) -> None:
        phase = self.phase
        if (
            phase is _HEAD
            and not self._buffer
            and self.writable
            and data[0] != 0x0D
            and 0 < data.find(HEAD_END) == len(data) - 4
        ):
            self._begin(data)  # one whole head and nothing else: most requests
            return
        if phase is _LINGERING or phase is _CLOSED:
            return
        self._buffer = self._buffer[self._at :] + data if self._buffer else data
        self._at = 0
        if phase is _HEAD:
            self._next_request()
        if self._exchange is not None and self._buffer:
            self._continue_exchange()

    def eof_received(self) -> bool:
        """The client closed its side. Whether it waits for its answer or is gone cannot be told from a FIN, so what is
        in progress has a grace time; nothing else will come."""
        self._eof = True
        if self.phase is not _EXCHANGE:
            self._close()
            return True
        exchange = self._exchange
        if exchange is not None and exchange.body is not None and not exchange.body.framing.done:
            exchange.body.break_off(Disconnected("the client closed the connection within the request body"))
        self.deadline = self.loop.time() + self.service.disconnect_grace_seconds
        if exchange is not None and exchange.on_leave is not None:
            exchange.on_leave()
        return True  # False would close the transport at once

    def connection_lost(self, exc: Exception | None) -> None:
        exchange, task = self._exchange, self._task
        in_progress = self.phase is _EXCHANGE
        self.phase = _CLOSED
        self._buffer = b""
        self.lose()
        if exchange is not None and in_progress:
            exchange.finished = True
            self.service.ended(self, exchange)
            if task is not None:
                self._cancel(task, exchange)
        self._forget_exchange()
        self.service.closed(self)

    def _cancel(self, task: asyncio.Task[None], exchange: Exchange) -> None:
        """End the handler of a client that is gone: at once, or when its grace time is over if it wants to be told."""
        if exchange.on_leave is None:
            task.cancel()
            return
        exchange.on_leave()
        now = self.loop.time()
        over = self.deadline if self._eof else now + self.service.disconnect_grace_seconds
        self.loop.call_later(max(0.0, over - now), task.cancel)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.phase is _HEAD and self._buffer:
            self._next_request()

    # -- requests

    def _next_request(self) -> None:
        """Start the next request if its head is complete. Called in phase HEAD, with something in the buffer."""
        if not self.writable:
            self.flush()
            self._pause_reading()
            return
        if self._buffer.startswith(b"\r", self._at) and not self._skip_blank_lines():
            return
        buffer, at = self._buffer, self._at
        end = buffer.find(HEAD_END, at) + len(HEAD_END)
        if end < len(HEAD_END):
            self._await_head(buffer[at:] if at else buffer)
            return
        raw = buffer if at == 0 and end == len(buffer) else buffer[at:end]
        if end == len(buffer):
            self._buffer = b""
            self._at = 0
        else:
            self._at = end
        self._head_begun = False
        self._begin(raw)
        if self._exchange is not None:
            self._catch_up(self._exchange)

    def _begin(self, raw: bytes) -> None:
        """Start the request of this head."""
        service = self.service
        exchange = service.exchange(self)
        try:
            service.parse_head(raw, exchange)
        except RequestError as error:
            self.refuse(error)
            return
        if self.fresh:
            self.fresh = False
            self._tell_wait()
        self.requests += 1
        self.phase = _EXCHANGE
        self.deadline = inf
        self._blanks = 0
        self._exchange = exchange
        exchange.started_at = now = monotonic()
        service.flight.began(self.index, now, raw)
        if exchange.chunked or exchange.content_length:
            exchange.body = IncomingBody(self, self._framing(exchange), service.max_body)
            exchange.has_body = True
        self._task = service.create_task(service.app(exchange))

    def _tell_wait(self) -> None:
        """The first bytes of a connection have come."""
        if self.accepted_at:
            self.queue_wait = monotonic() - self.accepted_at
            self.service.flight.waited(self.queue_wait)
            self.accepted_at = 0.0

    def _catch_up(self, exchange: Exchange) -> None:
        """What else a request needs that did not come alone: cut, pipelined, or from a client that closed its side."""
        paused = not self._reading
        if paused:
            self._resume_reading()
        if self._buffer and (paused or exchange.body is not None):
            self._continue_exchange()  # which may pause again
        if self._eof:
            self.deadline = self.loop.time() + self.service.disconnect_grace_seconds
        if self._held:
            # The batch is written once the app has had its first step: a response that is ready by then joins it.
            self.loop.call_soon(self._flush_unless_answered, exchange)

    def _skip_blank_lines(self) -> bool:
        """Step over empty lines before a request. False when nothing is left to look at."""
        while self._buffer.startswith(b"\r\n", self._at):
            self._at += 2
            self._blanks += 2
        if self._blanks > LEADING_BLANKS:
            self.refuse(RequestError(400, "too many empty lines before a request"))
            return False
        if self._at < len(self._buffer):
            return True
        self._buffer = b""
        self._at = 0
        self._head_begun = False
        self.flush()
        self._rest()
        return False

    def _await_head(self, partial: bytes) -> None:
        """A head has begun and is not complete."""
        self._tell_wait()
        self.flush()
        wrong = None if partial == b"\r" else refusal(partial, self.service.limits)
        if wrong is not None:
            self.refuse(wrong)
        elif self._eof:
            self._close()
        else:
            if not self._head_begun:
                self._head_begun = True
                self.deadline = self.loop.time() + self.service.header_seconds
            self._resume_reading()

    def _continue_exchange(self) -> None:
        """Bytes behind the head in progress or just answered: its body, then requests that wait."""
        exchange = self._exchange
        body = exchange.body if exchange is not None else None
        if body is not None and not body.framing.done and not self._take(body):
            if self.phase is _DRAINING:
                self._drained(body)
            return
        waiting = len(self._buffer) - self._at
        if waiting > READ_AHEAD_BYTES or self._buffer.count(HEAD_END, self._at) > PIPELINED_REQUESTS:
            self._pause_reading()

    def exchange_done(self, exchange: Exchange) -> None:
        """The response is written. What of the request is still to come is drained, or the connection closed."""
        service = self.service
        service.flight.answered(self.index, exchange)
        if service.access_log is not None:
            service.log_answered(exchange)
        self._task = None
        if exchange.has_body and not self._body_is_over(exchange):
            return
        self._exchange = None
        if not exchange.keep_alive:
            if self._buffer or not self._reading:
                self._linger()
            else:
                self._close()
            return
        self.phase = _HEAD
        if self._buffer:
            # We are within the task of the request that was just answered: what it has set is not for the next one.
            service.context.copy().run(self._next_request)
        elif self._eof or service.draining or not self._reading:
            self._rest()
        else:
            self.deadline = service.keep_alive_until  # most requests end here

    def _drained(self, body: IncomingBody) -> None:
        """More of a body was read over, and perhaps all of it."""
        if body.framing.done:
            self._exchange = None
            self.phase = _HEAD
            if self._buffer:
                self._next_request()
            else:
                self._rest()

    def _rest(self) -> None:
        """Nothing of a next request is here: wait for it, unless none can come."""
        if self._eof:
            self._close()
            return
        self.deadline = self.service.keep_alive_until
        if not self._reading:
            self._resume_reading()
        if self.service.draining:
            self.loop.call_soon(self.leave)

    # -- writing

    def write_response(self, data: bytes) -> None:
        """Write a whole response; when the next request of a pipelined batch is here, together with its response."""
        if not self._buffer and not self._held:
            self._transport.write(data)
        elif self._buffer.find(HEAD_END, self._at) >= 0:
            self.hold(data)
        else:
            self.write(data)

    def _flush_unless_answered(self, exchange: Exchange) -> None:
        if self._exchange is exchange:
            self.flush()

    # -- endings

    def give_to(self, successor: Successor) -> None:
        """The exchange in progress has ended in another protocol: it has the transport from now on."""
        service, task, exchange = self.service, self._task, self._exchange
        data = self._buffer[self._at :]
        if exchange is not None:
            service.flight.switched(self.index, exchange)
            service.log_answered(exchange)
        self._resume_reading()
        self.phase = _CLOSED
        self._forget_exchange()
        self._buffer = b""
        service.succeeded(self, successor)
        self._transport.set_protocol(cast(asyncio.BaseProtocol, successor))
        successor.took_over(self._transport, task, data)

    def refuse(self, error: RequestError) -> None:
        """Answer a request that broke a rule and take no more from this client."""
        exchange = self._exchange
        text = b"" if exchange is not None and exchange.method == "HEAD" else error.reason.encode() + b"\n"
        self.write(
            b"%b%b%bcontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (status_line(error.status), self.service.common, encode_fields(error.fields).lines, len(text), text)
        )
        if exchange is not None:
            exchange.bytes_sent = len(text)
            self.service.ended(self, exchange)
        else:
            self.service.refused(self, error)
        self._linger()

    def abort(self) -> None:
        """Cut the connection. The app that asks for it goes on; nobody cancels it."""
        if self._exchange is not None:
            self.service.ended(self, self._exchange)
        self._forget_exchange()
        self.phase = _CLOSED
        self.lose()
        self._transport.abort()

    def expired(self) -> None:
        """The deadline has passed."""
        exchange = self._exchange
        if self.phase is _EXCHANGE and self._eof:
            self.cut()
            return
        self.deadline = inf
        if self.phase is _HEAD and self._head_begun:
            self.refuse(RequestError(408, "the request head took too long"))
        elif self.phase is _EXCHANGE and exchange is not None and exchange.body is not None:
            exchange.body.break_off(RequestError(408, "the request body stalled"))
        else:
            self._close()

    def leave(self) -> None:
        """This worker drains: give the connection to another one if it is idle, or close it if there is no other."""
        service = self.service
        if self.phase is not _HEAD or self._buffer or not service.draining:
            return
        if self.stays or service.hand_back is None:
            if self.fresh or not service.closing:  # its next request may be on the way
                self.deadline = min(self.deadline, self.loop.time() + FIRST_REQUEST_SECONDS)
            else:
                self._close()
        elif self._transport.get_write_buffer_size() == 0:
            self._pause_reading()  # what the client sends from now on stays in the kernel, for the next worker
            if service.hand_back(self):
                self.phase = _CLOSED
                self._transport.abort()  # our copy only
            else:
                self._resume_reading()
