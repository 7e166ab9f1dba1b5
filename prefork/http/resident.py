"""Connections that stay with their worker: what they began with, TLS or a PROXY header, is known only there."""

import array
import asyncio
import fcntl
import socket
import sys
import termios
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from prefork.http.closing import LINGER_SECONDS, Phase
from prefork.http.connection import Connection
from prefork.http.peer import Peer, peer_of

if TYPE_CHECKING:
    from prefork.http.service import Service

_BYTES_ACKED: Final = slice(120, 128)  # tcpi_bytes_acked in struct tcp_info (linux/tcp.h), an unsigned number


class ResidentConnection(Connection):
    """One that cannot be given to another worker. When this one drains, the answer in progress says that it is the
    last, and an idle connection is closed, unless it asks once more within a second."""

    __slots__ = ()
    stays = True

    def _begin(self, raw: bytes) -> None:
        super()._begin(raw)
        if self.service.draining:
            self._say_close()

    def leave(self) -> None:
        if self.service.draining:
            self._say_close()
        super().leave()

    def _say_close(self) -> None:
        exchange = self._exchange
        if exchange is not None and not exchange.started:
            exchange.keep_alive = False


class SecureConnection(ResidentConnection):
    """One in TLS. It has no half-close: a client that says it will send no more is gone."""

    __slots__ = ("_progress",)
    encrypted = True

    def __init__(self, service: "Service", listener: int = 0, peer: Peer | None = None) -> None:
        super().__init__(service, listener, peer)
        # Of the client with what we wrote before we closed, when we last looked.
        self._progress: tuple[int, int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        found = peer_of(transport)  # now: a transport that has lost its connection does not know any more
        known = self._peer or found  # a PROXY header knows better who is there, and nothing of our TLS
        self._peer = replace(known, scheme=found.scheme, tls=found.tls)

    def eof_received(self) -> bool:
        super().eof_received()
        return False  # the transport closes, whatever we say

    def _linger(self) -> None:
        """The transport itself reads on, and drops it, until the client has seen our last answer."""
        self.flush()
        self._forget_exchange()
        self._buffer = b""
        self._close()
        self.deadline = self.loop.time() + LINGER_SECONDS

    def _close(self) -> None:
        """Say that we close. The transport waits for the client to say so too; for those that do not, we look at every
        sweep whether they have had everything, and then wait no longer."""
        if self.phase is not Phase.CLOSED:  # asyncio's transport must not be closed twice: it could not be cut then
            super()._close()
            self.deadline = self.loop.time()

    def expired(self) -> None:
        if self.phase is not Phase.CLOSED:
            super().expired()
            return
        end = self._transport.get_extra_info("socket")
        if end is None or end.fileno() < 0:
            return  # it is closed, and we are about to hear of it
        before, now = self._progress, _progress(end)
        self._progress = now
        # Between two looks the transport hands on what it still had, if the kernel has room: without progress there is
        # no more. A client that takes nothing is the kernel's to end.
        if now == before and now[0] == 0:
            self._transport.abort()

    def cut(self) -> None:
        """End now; a handler in progress is cancelled. A close would wait for the client."""
        self._transport.abort()


def _progress(end: Any) -> tuple[int, int]:
    """What the kernel has from us and the client has not acknowledged (SIOCOUTQ, tcp(7)), and, on TCP, what it has.
    Both in bytes."""
    waiting = array.array("i", [0])
    fcntl.ioctl(end.fileno(), termios.TIOCOUTQ, waiting)
    if end.family == socket.AF_UNIX:
        return waiting[0], 0
    found = end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.stop)
    return waiting[0], int.from_bytes(found[_BYTES_ACKED], sys.byteorder)
