"""Who is at the other end of a connection, as far as its transport tells."""

import asyncio
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Tls:
    """A TLS session, in ASGI's words."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The client's address and port, ours, and what is spoken between them. Unix sockets have no addresses."""

    client: tuple[str, int] | None
    server: tuple[str, int] | None
    scheme: str = "http"
    tls: Tls | None = None


def peer_of(transport: asyncio.BaseTransport) -> Peer:
    """What a transport knows of its peer."""
    return Peer(_address(transport.get_extra_info("peername")), _address(transport.get_extra_info("sockname")))


def _address(found: Any) -> tuple[str, int] | None:
    return (found[0], found[1]) if isinstance(found, tuple) else None
