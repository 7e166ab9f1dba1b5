"""Connections that stay with their worker: what they began with, TLS or a PROXY header, is known only there."""

import array
import asyncio
import fcntl
import termios
from dataclasses import replace
from typing import TYPE_CHECKING

from prefork.http.connection import LINGER_SECONDS, Connection, Phase
from prefork.http.peer import Peer, peer_of

if TYPE_CHECKING:
    from prefork.http.service import Service


class ResidentConnection(Connection):
    """One that cannot be given to another worker. When this one drains, the answer in progress says that it is the
    last, and an idle connection is closed."""

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

    __slots__ = ("_had_all",)
    encrypted = True

    def __init__(self, service: "Service", listener: int = 0, peer: Peer | None = None) -> None:
        super().__init__(service, listener, peer)
        self._had_all = False  # the client, of what we wrote before we closed, when we last looked

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
        had_all = _unsent_bytes(end.fileno()) == 0  # a client that takes nothing is the kernel's to end
        if had_all and self._had_all:  # twice: between two looks the transport hands on what it still had
            self._transport.abort()
        self._had_all = had_all


def _unsent_bytes(descriptor: int) -> int:
    """What the kernel has from us and the client has not acknowledged (SIOCOUTQ, tcp(7))."""
    count = array.array("i", [0])
    fcntl.ioctl(descriptor, termios.TIOCOUTQ, count)
    return count[0]
