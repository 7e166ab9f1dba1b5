"""What happens to a connection before HTTP: the PROXY header is read, then the TLS handshake is made.

Until then we look at what has come without taking it (MSG_PEEK, recv(2)), so that nothing is lost on the way.
"""

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Final

from prefork.errors import RequestError, UsageError
from prefork.http.connection import FIRST_REQUEST_SECONDS, Connection
from prefork.http.peer import Peer
from prefork.http.proxy_protocol import V1_BYTES, V2_BYTES, Addresses, ProxyError, measure, parse
from prefork.http.resident import ResidentConnection, SecureConnection
from prefork.http.service import Service
from prefork.http.trust import Trust
from prefork.settings import Settings
from prefork.system.seldom import Seldom
from prefork.system.tls import Certificates

LOOK_SECONDS: Final = 1.0  # between two looks at the certificates' files; a change is taken when two looks agree
# How long a handshake counts as one in progress. Who stalls after a byte must not hold up all the others for as long as
# a handshake may take.
TURN_SECONDS: Final = 1.0
# How long a transport may take to write what it has, and then to see the client close its side. A SecureConnection ends
# the second earlier; this is for the protocols that take over from one.
SHUTDOWN_SECONDS: Final = 600.0

_HANDSHAKE: Final = b"\x16"  # the first byte of a ClientHello: the type of its record (RFC 8446, 5.1)

_log = logging.getLogger("prefork.http")


class Arrivals:
    """The connections of one worker that have not come as far as HTTP."""

    def __init__(
        self, service: Service, settings: Settings, certificates: Certificates | None, speaks: bool = True
    ) -> None:
        """`speaks`: whether to log what becomes of the certificates; of all workers one is enough."""
        self._service = service
        self._loop = service.loop
        self._certificates = certificates
        self._trust = Trust(settings.forwarded_allow) if settings.proxy_protocol else None
        self._handshake_seconds = settings.tls_handshake_seconds
        self._turns = asyncio.Semaphore(settings.tls_handshakes)  # first come, first served
        self._news_level = logging.INFO if speaks else logging.DEBUG
        self._fault_level = logging.ERROR if speaks else logging.DEBUG
        self._tell_stranger = Seldom(_log, logging.WARNING)
        self._tell_bad_header = Seldom(_log, logging.WARNING)
        self._limits: set[asyncio.Timeout] = set()  # of clients that have not said what they have to
        self._look_at = 0.0
        self._fault = ""  # of the certificates' files, as it was told
        self._renewal: asyncio.Task[None] | None = None
        if certificates is not None:
            self._report(certificates.renew)  # the mold may have read them long ago

    @staticmethod
    def needed(settings: Settings) -> bool:
        """Whether anything at all comes before HTTP."""
        return bool(settings.tls_cert) or settings.proxy_protocol

    async def receive(self, end: socket.socket, listener: int, accepted_at: float = 0.0) -> None:
        """Make a connection of the socket that was accepted from the listener of that index, then (monotonic seconds; 0
        if it is not to be told).

        Raises OSError when there will be none; the caller still owns the socket then.
        """
        end.setblocking(False)
        peer: Peer | None = None
        if self._trust is not None:
            try:
                addresses = await self._read_proxy_header(end, self._trust)
            except ProxyError as error:
                if self._certificates is not None:
                    raise ConnectionAbortedError(str(error)) from None
                await self._refuse(end, listener, RequestError(400, str(error)), None)
                return
            if addresses is not None:
                peer = Peer(addresses.client, addresses.server)
            self._tell_wait(accepted_at)
            accepted_at = 0.0
        if self._certificates is not None:
            await self._shake_hands(end, listener, peer, self._certificates, accepted_at)
        else:
            await self._loop.connect_accepted_socket(lambda: ResidentConnection(self._service, listener, peer), end)

    # -- PROXY

    async def _read_proxy_header(self, end: socket.socket, trust: Trust) -> Addresses | None:
        """Take the header, and not a byte more. Raises ProxyError, OSError."""
        name = end.getpeername()
        host = name[:2] if isinstance(name, tuple) else None
        if not trust.has(host):
            words = f"a connection from {host[0] if host else 'a unix socket'}, which is not in forwarded_allow"
            self._tell_stranger(f"refused {words}; proxy_protocol is on")
            raise ConnectionRefusedError(words)
        begun, complete = b"", False
        try:
            async with self._within(self._service.header_seconds):
                while not complete:
                    ahead = await self._peek(end, max(V1_BYTES, V2_BYTES) - len(begun))
                    size, complete = measure(begun + ahead)
                    begun += end.recv(size - len(begun))
            return parse(begun)
        except TimeoutError:
            raise TimeoutError("the PROXY header took too long") from None
        except ProxyError as error:
            who = host[0] if host else "a unix socket"
            self._tell_bad_header(f"refused a connection from {who}: {error}; proxy_protocol is on")
            raise

    # -- TLS

    async def _shake_hands(
        self, end: socket.socket, listener: int, peer: Peer | None, certificates: Certificates, accepted_at: float
    ) -> None:
        began = self._loop.time()
        try:
            async with self._within(self._handshake_seconds):
                first = await self._peek(end, 1)
        except TimeoutError:
            raise TimeoutError("no TLS handshake came in time") from None
        self._tell_wait(accepted_at)
        if first != _HANDSHAKE:
            if not first.isalpha():
                raise ConnectionAbortedError("what came is no TLS handshake")
            await self._refuse(end, listener, RequestError(400, "this port speaks TLS: use https://"), peer)
            return
        waited = self._loop.time() - began
        await self._turns.acquire()
        with ExitStack() as turn:
            turn.callback(self._turns.release)
            turn.callback(self._loop.call_later(TURN_SECONDS, turn.close).cancel)
            connection = SecureConnection(self._service, listener, peer)
            try:
                await self._loop.connect_accepted_socket(
                    lambda: connection,
                    end,
                    ssl=certificates.context,
                    ssl_handshake_timeout=max(0.001, self._handshake_seconds - waited),
                    ssl_shutdown_timeout=SHUTDOWN_SECONDS,
                )
            except ssl.SSLError as error:
                raise ConnectionAbortedError(f"the TLS handshake failed: {error.reason or error}") from None
        if connection.index == -1:
            raise ConnectionAbortedError("the client left within the TLS handshake")

    def tick(self, now: float) -> None:
        """Look after the certificates now and then. `now` in monotonic seconds."""
        certificates = self._certificates
        if certificates is None or now < self._look_at:
            return
        self._look_at = now + LOOK_SECONDS
        if self._renewal is None and certificates.settled():
            self._renewal = self._loop.create_task(self._renew(certificates))

    async def _renew(self, certificates: Certificates) -> None:
        try:
            await asyncio.to_thread(self._report, certificates.renew)  # some milliseconds of CPU for each
        finally:
            self._renewal = None

    def _report(self, renew: Callable[[], bool]) -> None:
        try:
            if renew():
                self._fault = ""
                _log.log(self._news_level, "the TLS certificates were read anew")
        except UsageError as error:
            if str(error) != self._fault:
                self._fault = str(error)
                _log.log(self._fault_level, "the new TLS certificates are no good, the old ones stay in use: %s", error)

    # -- both

    def stop(self) -> None:
        """The server stops: clients that have not said what they have to must be quick."""
        soon = self._loop.time() + FIRST_REQUEST_SECONDS
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(min(limit.when() or soon, soon))

    @asynccontextmanager
    async def _within(self, seconds: float) -> AsyncIterator[None]:
        """Raises TimeoutError."""
        seconds = min(seconds, FIRST_REQUEST_SECONDS) if self._service.closing else seconds
        async with asyncio.timeout(seconds) as limit:
            self._limits.add(limit)
            try:
                yield
            finally:
                self._limits.discard(limit)

    def refusal(self, error: OSError) -> str:
        """Why `receive` made no connection, in a word."""
        if isinstance(error, ConnectionResetError):
            return "gone"
        return "proxy" if self._certificates is None or isinstance(error, ConnectionRefusedError) else "tls"

    def _tell_wait(self, accepted_at: float) -> None:
        if accepted_at:
            self._service.flight.waited(time.monotonic() - accepted_at)

    async def _refuse(self, end: socket.socket, listener: int, error: RequestError, peer: Peer | None) -> None:
        """Answer in plain HTTP, which is probably what this client speaks, and close."""
        await self._loop.connect_accepted_socket(lambda: _Refused(self._service, listener, error, peer), end)

    async def _peek(self, end: socket.socket, most: int) -> bytes:
        """What has come, at least a byte; it stays there. Raises OSError, also when the client is gone."""
        while True:
            try:
                data = end.recv(most, socket.MSG_PEEK)
            except BlockingIOError:
                await self._readable(end)
                continue
            if not data:
                raise ConnectionResetError("the client left before it said anything")
            return data

    async def _readable(self, end: socket.socket) -> None:
        ready = self._loop.create_future()
        self._loop.add_reader(end, _set, ready)
        try:
            await ready
        finally:
            self._loop.remove_reader(end)


class _Refused(Connection):
    """A connection that gets one answer, whatever it says."""

    __slots__ = ("_error",)

    def __init__(self, service: Service, listener: int, error: RequestError, peer: Peer | None) -> None:
        super().__init__(service, listener, peer)
        self._error = error

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.refuse(self._error)


def _set(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)
