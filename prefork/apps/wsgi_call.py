"""One call of a WSGI app, in its thread: `start_response`, `write`, the iterable and its `close` (PEP 3333)."""

import asyncio
import concurrent.futures
from collections.abc import Callable, Coroutine, Iterable
from contextvars import Context
from types import TracebackType
from typing import Any, TypeVar

from prefork.apps.routes import wsgi_route
from prefork.apps.wsgi_environ import Environ
from prefork.apps.wsgi_file import FileWrapper, Region
from prefork.apps.wsgi_head import KNOWN_STATUSES, read_fields, read_status
from prefork.apps.wsgi_outbox import AHEAD_BYTES, Bell, Outbox
from prefork.errors import Disconnected, ResponseError
from prefork.http.encoding import bodiless
from prefork.http.exchange import Exchange
from prefork.jobs.references import name_of
from prefork.web.failures import log_failure
from prefork.web.request import Request

T = TypeVar("T")
ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]
Pair = tuple[str, str]
Write = Callable[[bytes], None]
WsgiApp = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


class Call(Outbox):
    """Misuse raises ResponseError that names the rule: in the app, where it is a call of the app's that is wrong."""

    _begun = False  # a piece of the body was handed over: the head cannot be changed any more
    _silent = False  # such a response has no body; known once it has begun
    _left: int | None = None  # bytes of the body that are to come, as declared; known once it has begun
    _waits_for: concurrent.futures.Future[Any] | None = None
    left = False  # the client has left; written by the loop

    def __init__(
        self,
        bell: Bell,
        app: WsgiApp,
        exchange: Exchange,
        environ: Environ,
        context: Context,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._bell = bell
        self._app = app
        self._exchange = exchange
        self._environ = environ
        self._context = context
        self._loop = loop
        environ["prefork.wait"] = self.wait

    def __repr__(self) -> str:
        return f"{self._exchange.method} {self._exchange.target.decode('latin-1')}"

    # -- in the thread

    def run(self) -> None:
        """Call the app, unless its client left while the call waited for a thread."""
        try:
            if not (self.over or self._exchange.finished):
                self._context.run(self._run, self._environ)
        finally:
            self._environ = {}  # which refers to us

    def _run(self, environ: Environ) -> None:
        result: Iterable[bytes] = ()
        try:
            result = self._app(environ, self.start_response)
            self._send(result)
        except BaseException as error:
            self._fail(error)
        if type(result) is not list:
            self._close(result)

    def start_response(self, status: str, headers: list[Pair], exc_info: ExcInfo | None = None) -> Write:
        """Raises ResponseError; and with `exc_info`, once the head has gone out, that exception."""
        if self.status:
            if exc_info is None:
                raise ResponseError("PEP 3333: start_response was called again, without exc_info")
            if self._begun:
                try:
                    raise exc_info[1].with_traceback(exc_info[2])
                finally:
                    exc_info = None  # no cycle through our frame
        code = KNOWN_STATUSES.get(status) if type(status) is str else None
        code = code or read_status(status)
        self.fields, self.declared = read_fields(headers)
        self.status = code
        self._exchange.route = wsgi_route(self._environ)
        return self.write

    def write(self, data: bytes) -> None:
        """What start_response returns. Waits while the client is slow. Raises ResponseError, Disconnected."""
        if not isinstance(data, bytes):
            raise ResponseError(f"PEP 3333: write() takes bytes, not {type(data).__qualname__}")
        if data:
            self._emit(data)

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """`environ["prefork.wait"]`: run a coroutine on the worker's event loop and wait for its result.

        Raises what it raises; Disconnected when the client leaves meanwhile: then it is cancelled.
        """
        future = self._waits_for = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            if self.left:  # maybe before it could see what we wait for
                future.cancel()
            result: T = future.result()
            return result
        except concurrent.futures.CancelledError:
            if self.left:
                raise Disconnected("the client left") from None
            raise
        finally:
            self._waits_for = None

    def _send(self, result: Iterable[bytes]) -> None:
        if (type(result) is list or type(result) is tuple) and not self._begun:
            if len(result) == 1:
                self._respond(result[0])
                return
            for piece in result:
                self._require_bytes(piece)
            length = sum(map(len, result))
            if length <= AHEAD_BYTES:
                self._respond(b"".join(result))
                return
            self._check_length(length)
            self.declared = length
        if type(result) is FileWrapper and not self._begun and (region := result.region()) is not None:
            self._send_file(region)
            return
        try:
            pieces = iter(result)
        except TypeError:
            raise self._misused(f"returned {type(result).__qualname__}; PEP 3333: an iterable of bytes") from None
        for piece in pieces:
            if piece and type(piece) is bytes:
                self._emit(piece)
                if self._silent:
                    break
            elif self.over:
                raise Disconnected("the client left")
            else:
                self._require_bytes(piece)
        self._finish()

    def _respond(self, body: bytes) -> None:
        """The whole body is here."""
        if type(body) is not bytes:
            self._require_bytes(body)
        self._check_length(len(body))
        self.whole = body
        self.tell()

    def _check_length(self, length: int) -> None:
        """All of the body is here; it must be as long as declared."""
        self._require_head()
        declared = self.declared
        if declared is not None and declared != length and not bodiless(self._exchange.method, self.status):
            raise self._misused(f"declared Content-Length {declared}, and gave a body of {length} bytes")

    def _send_file(self, region: Region) -> None:
        self._begin()
        length = region.length if self._left is None else self._left
        if not self._silent:
            if length > region.length:
                raise self._misused(f"declared Content-Length {length}, and gave a file with {region.length} bytes")
            self.region = region._replace(length=length)
        self.declared = length
        self.end()
        self.wait_over()  # close() is for afterwards

    def _emit(self, piece: bytes) -> None:
        if not self._begun:
            self._begin()
        if self._silent:
            return
        if self.over:
            raise Disconnected("the client left")
        if self._left is not None:
            if len(piece) > self._left:
                more = len(piece) - self._left
                raise self._misused(f"gave a body {more} bytes longer than its Content-Length, {self.declared}")
            self._left -= len(piece)
        self.put(piece)

    def _finish(self) -> None:
        if not self._begun:
            self._begin()
        if self._left and not self._silent:
            raise self._misused(f"gave a body {self._left} bytes shorter than its Content-Length, {self.declared}")
        self.end()

    def _begin(self) -> None:
        self._require_head()
        self._begun = True
        self._silent = bodiless(self._exchange.method, self.status)
        self._left = self.declared

    def _close(self, result: Iterable[bytes]) -> None:
        """Whatever has happened, the iterable is closed, once, here."""
        close = getattr(result, "close", None)
        if close is not None:
            try:
                close()
            except BaseException as error:
                log_failure(Request(self._exchange), error, "failed in close()")

    def _fail(self, error: BaseException) -> None:
        if isinstance(error, GeneratorExit):  # on the loop it would end the task, not the request
            error = RuntimeError("the app raised GeneratorExit")
        self.error = error
        self.end()

    def _require_head(self) -> None:
        if not self.status:
            raise self._misused("has not called start_response; PEP 3333: before the first bytes of the body")

    def _require_bytes(self, piece: object) -> None:
        if not isinstance(piece, bytes):
            raise self._misused(f"yielded {type(piece).__qualname__}; PEP 3333: the body is of bytes")

    def _misused(self, what: str) -> ResponseError:
        return ResponseError(f"the WSGI app {name_of(self._app)} {what}")

    # -- on the loop

    def leave(self) -> None:
        """The client has left."""
        self.left = True
        if (future := self._waits_for) is not None:
            future.cancel()
        self.close()
