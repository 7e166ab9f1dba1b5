"""Run a WSGI app (PEP 3333): each request in a thread, its body and its response carried by the event loop."""

import asyncio
import io
import logging
import sys
from contextvars import copy_context
from typing import BinaryIO, Final

from prefork.apps.threads import SWITCH_SECONDS, Threads
from prefork.apps.wsgi_call import Call, WsgiApp
from prefork.apps.wsgi_environ import EnvironMaker
from prefork.apps.wsgi_input import BodyStream
from prefork.apps.wsgi_outbox import Bell
from prefork.errors import Disconnected
from prefork.http.encoding import Fields, bodiless
from prefork.http.exchange import Exchange
from prefork.jobs import context
from prefork.jobs.references import name_of
from prefork.settings import Settings
from prefork.web.ending import end_failed
from prefork.web.request import Request
from prefork.web.response import TEXT

THREADS_END_SECONDS: Final = 1.5  # for what threads do when no client waits any more; a worker allows 2 s in all
DEFAULT_SWITCH_SECONDS: Final = 0.005  # Python's
QUIET_SECONDS: Final = 10.0  # between two lines that say all threads are busy

_BUSY: Final = (*TEXT, (b"retry-after", b"1"))
# What frameworks make of an error in reading the body; the reason why it could not be read says more.
_VAGUE: Final = (400, 500)

_log = logging.getLogger("prefork.app")


class WsgiApplication:
    """A WSGI app and its threads."""

    def __init__(self, app: WsgiApp, settings: Settings) -> None:
        self._app = app
        self._max_body = settings.max_body
        self._debug = settings.debug
        self._most_threads = settings.threads
        self._most_waiting = settings.thread_queue
        self._make_environ = EnvironMaker(settings.root_path).make
        self._refused = 0
        self._refused_said_at = -QUIET_SECONDS

    def __repr__(self) -> str:
        return f"a WSGI app, {name_of(self._app)}"

    async def startup(self) -> None:
        """Threads start when they are first needed. An app that has set a switch interval keeps it."""
        if sys.getswitchinterval() == DEFAULT_SWITCH_SECONDS:
            sys.setswitchinterval(SWITCH_SECONDS)
        self._loop = asyncio.get_running_loop()
        self._bell = Bell()
        self._threads = Threads(self._most_threads, self._most_waiting)

    async def shutdown(self) -> None:
        """Wait a little for what threads still do. What hangs is named, and ends with its process."""
        try:
            async with asyncio.timeout(THREADS_END_SECONDS):
                await self._threads.close()
        except TimeoutError:
            for work in self._threads.in_progress:
                _log.warning("%r still runs in a thread, and ends with its worker", work)

    def offloader(self) -> None:
        """This process is an offloader, forked from the one that loaded the app."""

    async def __call__(self, exchange: Exchange) -> None:
        if context.tracking:
            context.enter(Request(exchange))
        call: Call | None = None
        stream: BodyStream | None = None
        try:
            body: BinaryIO
            if not exchange.has_body:
                body = io.BytesIO()
            else:
                exchange.limit_body(self._max_body)
                if exchange.body is not None and exchange.body.complete:
                    body = io.BytesIO(await _read_all(exchange))
                else:
                    stream = BodyStream(exchange)
                    body = stream.buffered()
            environ = self._make_environ(exchange, body)
            call = Call(self._bell, self._app, exchange, environ, copy_context(), self._loop)
            if not self._threads.submit(call):
                self._refuse(exchange)
                return
            await _relay(call, exchange, stream, self._loop)
        except BaseException as error:
            if call is not None and isinstance(error, asyncio.CancelledError | Disconnected):
                call.leave()
            end_failed(exchange, error, self._debug)
        finally:
            if call is not None:
                call.close()
            if stream is not None:
                stream.stop()

    def _refuse(self, exchange: Exchange) -> None:
        """All threads are busy, and enough requests wait for one."""
        self._refused += 1
        now = self._loop.time()
        if now >= self._refused_said_at + QUIET_SECONDS:
            _log.warning(
                "all %d threads are busy and %d requests wait: %d refused since the last such line",
                self._most_threads,
                self._most_waiting,
                self._refused,
            )
            self._refused, self._refused_said_at = 0, now
        exchange.respond(503, _BUSY, b"Service Unavailable\n")


async def _relay(call: Call, exchange: Exchange, stream: BodyStream | None, loop: asyncio.AbstractEventLoop) -> None:
    """Write what the thread hands over. Raises what the app raised, and what writing raises."""
    while True:
        if not call.news:
            call.waiter = loop.create_future()
            await call.waiter
        call.news = False
        if stream is not None and stream.refusal is not None and call.status in _VAGUE and not exchange.started:
            raise stream.refusal
        if call.whole is not None:
            exchange.respond(call.status, _fields(call, exchange), call.whole)
            return
        ended = call.ended  # before the pieces are taken: what comes after that is news
        data = call.take()
        if call.error is not None:
            error, call.error = call.error, None
            raise error
        if not exchange.started:
            if ended and call.region is None and exchange.method != "HEAD":
                exchange.respond(call.status, _fields(call, exchange), data)
                return
            exchange.start(call.status, call.fields, call.declared)
        if data:
            await exchange.write(data)
            call.written(len(data))
        if call.region is not None:
            await exchange.send_file(*call.region)
        if ended:
            exchange.finish()
            return


def _fields(call: Call, exchange: Exchange) -> Fields:
    """The fields of a response that is written in one go. Its length is that of its body; only of a body that is not
    sent, the app's word counts."""
    if not call.declared or not bodiless(exchange.method, call.status):
        return call.fields
    return (*call.fields, (b"content-length", b"%d" % call.declared))


async def _read_all(exchange: Exchange) -> bytes:
    """A body that has arrived, so that nobody waits."""
    piece = await exchange.read()
    pieces = [piece]
    while piece:
        piece = await exchange.read()
        pieces.append(piece)
    return b"".join(pieces)
