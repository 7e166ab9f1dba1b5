"""Who is at the other end of a connection, as far as its transport tells."""

import asyncio
from dataclasses import dataclass
from typing import Any

from prefork.http.tls import Tls


@dataclass(frozen=True, slots=True)
class Peer:
    """The client's address and port, ours, and what is spoken between them. Unix sockets have no addresses."""

    client: tuple[str, int] | None
    server: tuple[str, int] | None
    scheme: str = "http"
    tls: Tls | None = None

    @property
    def known(self) -> bool:
        """Whether it is known who is there: a client on TCP that has reset its connection has no address any more."""
        return self.client is not None or self.server is None


def peer_of(transport: asyncio.BaseTransport) -> Peer:
    """What a transport knows of its peer."""
    client, server = _address(transport.get_extra_info("peername")), _address(transport.get_extra_info("sockname"))
    session = transport.get_extra_info("ssl_object")
    return Peer(client, server) if session is None else Peer(client, server, "https", Tls(session))


def _address(found: Any) -> tuple[str, int] | None:
    return (found[0], found[1]) if isinstance(found, tuple) else None
