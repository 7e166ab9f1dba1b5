"""Spans of requests: an app behind the same interface, each of whose requests runs within a span (--otel).

Names and attributes are those of OpenTelemetry's stable conventions for HTTP servers. A span ends with its response:
what a handler does after that belongs to the trace, but is not part of the span; so is what a WebSocket does.
"""

import time
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from opentelemetry import context as otel
from opentelemetry import propagate, trace
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from prefork.apps.application import Application
from prefork.http.exchange import Exchange
from prefork.http.recorder import KNOWN_METHODS
from prefork.http.service import FlightRecorder
from prefork.jobs import tracing
from prefork.settings import Settings
from prefork.system import telemetry
from prefork.web import failures

R = TypeVar("R", bound=FlightRecorder)

OTHER_METHOD: Final = "_OTHER"
LEFT: Final = "prefork.errors.Disconnected"  # the error of a request whose client did not wait for the answer
CUT: Final = "cut"  # that of a response which the server has cut

_tracer = trace.get_tracer("prefork")  # a proxy, until there is a provider
_open: Final[dict[Exchange, Span]] = {}  # whose response has not ended; unrecorded ones are not in it


class Fields(Getter[Exchange]):
    """Reads what clients tell of their trace."""

    def get(self, carrier: Exchange, key: str) -> list[str] | None:
        return [value.decode("latin-1") for value in carrier.values(key.lower().encode())] or None

    def keys(self, carrier: Exchange) -> list[str]:
        return [name.decode("latin-1") for name, _ in carrier.fields]


_FIELDS: Final = Fields()


class TracedApplication:
    """An app whose requests are traced."""

    def __init__(self, app: Application, settings: Settings, service: str) -> None:
        """`service` names it, unless the environment does."""
        self._app = app
        telemetry.service = settings.name or service
        tracing.install()
        failures.on_failure = _failed

    def __repr__(self) -> str:
        return repr(self._app)

    async def startup(self) -> None:
        await self._app.startup()
        telemetry.ensure_provider()  # now, so that the app's start-up may set one

    async def shutdown(self) -> None:
        await self._app.shutdown()

    def offloader(self) -> None:
        self._app.offloader()

    async def __call__(self, exchange: Exchange) -> None:
        around = propagate.extract(exchange, getter=_FIELDS)
        method = exchange.method if exchange.method in KNOWN_METHODS else OTHER_METHOD
        span = _tracer.start_span(
            _name(exchange),
            context=around,
            kind=SpanKind.SERVER,
            attributes=_attributes(exchange, method),
            start_time=time.time_ns() - max(0, int((time.monotonic() - exchange.started_at) * 1e9)),
        )
        otel.attach(trace.set_span_in_context(span, around))  # for this task: it ends with the request
        if not span.is_recording():
            await self._app(exchange)
            return
        _open[exchange] = span
        _tell_wait(span, exchange)
        try:
            await self._app(exchange)
        finally:
            end(exchange)


def traced(record: type[R]) -> type[R]:
    """That kind of flight recorder, which also ends the span of a request with its response."""

    class TracingRecorder(record):  # type: ignore[misc, valid-type]
        def answered(self, index: int, exchange: Exchange) -> None:
            super().answered(index, exchange)
            end(exchange)

        def switched(self, index: int, exchange: Exchange) -> None:
            super().switched(index, exchange)
            end(exchange)

    return TracingRecorder


def end(exchange: Exchange) -> None:
    """Its response has ended, or there will be none."""
    span = _open.pop(exchange, None)
    if span is None:
        return
    if exchange.route:
        span.update_name(f"{_name(exchange)} {exchange.route}")
        span.set_attribute("http.route", exchange.route)
    if exchange.status:
        span.set_attribute("http.response.status_code", exchange.status)
        span.set_attribute("http.response.body.size", exchange.bytes_sent)
    connection = exchange.connection
    if connection.lost and not connection.was_cut:
        span.set_attribute("error.type", LEFT)  # no fault of the server's
    elif connection.was_cut or not exchange.status or not exchange.finished:
        _cut(span)
    elif exchange.status >= 500 and not _has_error(span):
        span.set_attribute("error.type", str(exchange.status))
        span.set_status(Status(StatusCode.ERROR))
    span.end()


def _name(exchange: Exchange) -> str:
    """That of a span whose route is not known: clients must not make up names."""
    return exchange.method if exchange.method in KNOWN_METHODS else "HTTP"


def _cut(span: Span) -> None:
    """There was no whole response, at the drain limit for example."""
    if not _has_error(span):
        span.set_attribute("error.type", CUT)
        span.set_status(Status(StatusCode.ERROR, "the response was cut"))


def _has_error(span: Any) -> bool:
    attributes: Mapping[str, Any] = getattr(span, "attributes", None) or {}  # not of every SDK's spans
    return "error.type" in attributes


def _failed(error: BaseException) -> None:
    """The app has raised what it did not handle itself; called in the task of its request."""
    span = trace.get_current_span()
    if span.is_recording():
        tracing.fail(span, error)


def _attributes(exchange: Exchange, method: str) -> dict[str, str | int]:
    """What is known before the app runs: a sampler may look at it. Not the query, which may hold secrets."""
    peer = exchange.peer
    found: dict[str, str | int] = {
        "http.request.method": method,
        "url.scheme": peer.scheme,
        "url.path": exchange.target.partition(b"?")[0].decode("ascii", "replace"),
        "network.protocol.name": "http",
        "network.protocol.version": "1.1" if exchange.http_minor else "1.0",
    }
    if method == OTHER_METHOD:
        found["http.request.method_original"] = exchange.method
    host = exchange.values(b"host")
    if host and host[0]:
        name, port = _split(host[0].decode("latin-1"))
        found["server.address"] = name
        if port is not None:
            found["server.port"] = port
    if peer.client is not None:
        found["client.address"], found["client.port"] = peer.client
    near = exchange.connection.peer.client  # who is at the other end of the socket, whomever it speaks for
    if near is not None:
        found["network.peer.address"], found["network.peer.port"] = near
    agent = exchange.values(b"user-agent")
    if agent:
        found["user_agent.original"] = agent[0].decode("latin-1")
    return found


def _split(host: str) -> tuple[str, int | None]:
    name, colon, port = host.rpartition(":")
    if colon and port.isdecimal() and not name.endswith(":"):
        return name, int(port)
    return host, None


def _tell_wait(span: Span, exchange: Exchange) -> None:
    """How long its connection had been accepted before a worker read the first bytes of it, as far as that is known."""
    connection = exchange.connection
    if connection.requests == 1 and connection.queue_wait:
        span.add_event("prefork.queued", {"prefork.queue_wait_seconds": connection.queue_wait})
        span.set_attribute("prefork.queue_wait_seconds", connection.queue_wait)
