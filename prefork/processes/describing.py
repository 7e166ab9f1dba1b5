"""Tell of a worker's open connections, when its master asks for them: the worker's side of `descriptions.py`."""

import os
import socket
import struct
from itertools import islice
from typing import TYPE_CHECKING, Final, cast

import msgspec

from prefork.control.status import ClientStatus
from prefork.http.closing import Phase
from prefork.http.connection import Connection
from prefork.http.exchange import Exchange
from prefork.http.outgoing import Outgoing
from prefork.http.peer import Peer
from prefork.http.service import Service
from prefork.http.successor import Successor
from prefork.messages import Described
from prefork.system.channel import Channel

if TYPE_CHECKING:
    from prefork.http.websocket import WebSocket  # which needs a package that may be missing

CLIENTS: Final = 2000  # of one worker; more are counted
REQUEST_CHARACTERS: Final = 120

# When data was last sent and received, in milliseconds ago, in struct tcp_info (linux/tcp.h).
_SENT_AGO, _RECEIVED_AGO, _TCP_INFO_BYTES = 44, 52, 60
_MILLISECONDS: Final = struct.Struct("=I")

_STATES: Final = {
    Phase.HEAD: "idle",
    Phase.EXCHANGE: "request",
    Phase.DRAINING: "closing",
    Phase.LINGERING: "closing",
    Phase.CLOSED: "closing",
}


def describe(channel: Channel, number: int, service: Service, slot: int) -> None:
    """Answer the question of that number."""
    found = list(islice(service.connections, CLIENTS))
    now = service.loop.time()
    text = msgspec.json.encode([_client(connection, slot, now) for connection in found])
    descriptor = os.memfd_create("prefork-clients", os.MFD_CLOEXEC)
    try:
        os.truncate(descriptor, len(text))
        os.pwrite(descriptor, text, 0)
        channel.send(Described(number, len(service.connections) - len(found)), [descriptor])
    finally:
        os.close(descriptor)


def _client(found: Connection | Successor, slot: int, now: float) -> ClientStatus:
    if isinstance(found, Connection):
        connection, exchange, state = found, found.exchange, _STATES[found.phase]
        if found.phase is Phase.HEAD and found.fresh:
            state = "new"
    else:
        websocket = cast("WebSocket", found)  # there are no others
        exchange, state = websocket.exchange, "websocket"
        connection = exchange.connection
    return ClientStatus(
        slot=slot,
        client=_name(connection.peer),
        state=state,
        age=max(0.0, now - connection.opened_at),
        idle=0.0 if state == "request" else _idle(cast("Outgoing", found)),
        requests=connection.requests,
        request=None if exchange is None else _request(exchange),
    )


def _name(peer: Peer) -> str:
    if peer.client is None:
        return "unix" if peer.server is None else "gone"
    host, port = peer.client
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _request(exchange: Exchange) -> str:
    path = exchange.target.partition(b"?")[0].decode("latin-1")
    return f"{exchange.method} {path}"[:REQUEST_CHARACTERS]


def _idle(found: Outgoing) -> float:
    """Seconds since something was sent or received; 0 where the kernel does not tell."""
    end = found.transport.get_extra_info("socket")
    if end is None or end.family == socket.AF_UNIX:
        return 0.0
    try:
        told = end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    except OSError:  # it is closed
        return 0.0
    ago = (_MILLISECONDS.unpack_from(told, at)[0] for at in (_SENT_AGO, _RECEIVED_AGO))
    return float(min(ago)) / 1000
