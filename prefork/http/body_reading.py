"""What a connection does with the body of a request: has it sent, gives it to the app, reads over what that leaves."""

from math import inf
from typing import Final

from prefork.errors import Disconnected
from prefork.http.body import ChunkedFraming, Framing, LengthFraming
from prefork.http.closing import Closing, Phase
from prefork.http.exchange import Exchange
from prefork.http.incoming import IncomingBody

DRAIN_BYTES: Final = 64 * 1024  # of a body the app did not read; more is not worth keeping a connection for


class BodyReading(Closing):
    """A connection as far as bodies are concerned."""

    __slots__ = ()

    def _framing(self, exchange: Exchange) -> Framing:
        if exchange.chunked:
            return ChunkedFraming(self.service.limits.fields, self.service.limits.field_bytes)
        return LengthFraming(exchange.content_length or 0)

    def _take(self, body: IncomingBody) -> bool:
        """Bytes have come, and the first of them are the body's. Whether what is behind them is to be looked at."""
        piece, self._buffer = body.framing.cut(self._buffer[self._at :])
        self._at = 0
        if self.phase is Phase.DRAINING:
            return False
        if not body.broken:
            body.put(piece)
        if body.framing.error is not None:
            body.break_off(body.framing.error)
        if body.broken:  # whatever follows is not parsed, ever
            self._buffer = b""
            self._pause_reading()
            return False
        if body.awaited:
            self.deadline = self.loop.time() + self.service.body_seconds
        elif body.full:
            self._pause_reading()
        return True

    def _body_is_over(self, exchange: Exchange) -> bool:
        """Whether all of the body has come; else what is left of it is drained, or is the last we hear."""
        body = exchange.body
        if body is None or body.complete:
            return True
        self.flush()
        drains = exchange.keep_alive and self.may_drain(exchange)
        body.break_off(Disconnected("the response is complete"))  # half a body is none, for whoever still reads
        if drains:
            self.phase = Phase.DRAINING
            self.deadline = self.loop.time() + self.service.body_seconds
            self._resume_reading()
        else:
            self._linger()
        return False

    def may_drain(self, exchange: Exchange) -> bool:
        """Whether the rest of a body that the app left unread is small enough to read over, and sure to come."""
        body = exchange.body
        if body is None or body.complete:
            return True
        if body.broken or exchange.expects_continue or not isinstance(body.framing, LengthFraming):
            return False
        return body.framing.left <= DRAIN_BYTES

    # -- what the request's body reports

    def body_awaited(self) -> None:
        """The app waits for bytes: now the client must send, and may want to be told so (RFC 9110, 10.1.1)."""
        exchange = self._exchange
        if exchange is None:
            return
        if exchange.expects_continue:
            exchange.expects_continue = False
            if not exchange.started:
                self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not self._eof:
            self.deadline = self.loop.time() + self.service.body_seconds
        self._resume_reading()

    def body_read(self) -> None:
        """The app took a piece."""
        exchange = self._exchange
        if exchange is None or exchange.body is None:
            return
        if not self._eof:
            self.deadline = inf
        if not self._reading and not exchange.body.full and not exchange.body.framing.done:
            self._resume_reading()
