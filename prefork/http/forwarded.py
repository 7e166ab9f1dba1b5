"""Whom a request comes from, when proxies that we trust stand between: Forwarded (RFC 7239) and X-Forwarded-*.

Each proxy adds, at the right end of a list, who connected to it. So we walk from the right, over the proxies we trust,
to the first address that is none of theirs; what stands left of it anybody may have written. If a request has
X-Forwarded fields, Forwarded is not looked at: proxies that write the former often pass on the latter as it came.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from prefork.errors import RequestError
from prefork.http.exchange import Exchange
from prefork.http.head import RequestHead, valid_host
from prefork.http.peer import Peer
from prefork.http.trust import Trust, parse_address

Node = tuple[str, int]  # an address, and its port or 0

_SCHEMES: Final = {b"http": "http", b"https": "https", b"ws": "http", b"wss": "https"}
_FOR, _PROTO, _HOST = b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"
_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PAIR = re.compile(  # a pair or nothing, and what ends it; RFC 7239 wants quotes around a colon, not everybody does so
    rb"[ \t]*(?:(" + _TOKEN + rb')=(?:([^",;\s]+)|"((?:[^"\\]|\\.)*)")[ \t]*)?([,;]|\Z)', re.DOTALL
)
_QUOTED = re.compile(rb"\\(.)", re.DOTALL)
_NODE = re.compile(r"(\d+\.\d+\.\d+\.\d+|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}|_[\w.-]+))?", re.ASCII)


class ForwardedExchange(Exchange):
    """A request as its client made it, not as the proxy before us did. `server` is still ours."""

    __slots__ = ("peer",)
    peer: Peer


def believing(
    trust: Trust, parse_head: Callable[[bytes, RequestHead], None]
) -> Callable[[bytes, ForwardedExchange], None]:
    """A parser of heads that looks at what trusted proxies say."""

    def parse(raw: bytes, exchange: ForwardedExchange) -> None:
        """Raises RequestError: 400 for what a proxy cannot have meant."""
        parse_head(raw, exchange)
        exchange.peer = peer = exchange.connection.peer
        lower = raw.lower()
        if (b"\nx-forwarded-" in lower or b"\nforwarded:" in lower) and peer.known and trust.has(peer.client):
            _apply(exchange, trust)

    return parse


def _apply(exchange: ForwardedExchange, trust: Trust) -> None:
    peer = exchange.peer
    fors, protos, hosts = (_items(exchange.values(name)) for name in (_FOR, _PROTO, _HOST))
    if fors or protos or hosts:
        client, at = walk(fors, peer.client, trust)
        proto, host = (_beside(values, fors, at) for values in (protos, hosts))
    else:
        elements = parse_forwarded(exchange.values(b"forwarded"))
        client, at = walk([element.get(b"for", b"") for element in elements], peer.client, trust)
        proto, host = (next((el[name] for el in elements[at:] if el.get(name)), b"") for name in (b"proto", b"host"))
    exchange.peer = replace(peer, client=client, scheme=_SCHEMES.get(proto.lower(), peer.scheme))
    if host:
        if not valid_host(host):
            raise RequestError(400, "malformed host in a forwarded field")
        fields = [field for field in exchange.fields if field[0] != b"host"]
        exchange.replace_fields([(b"host", host), *fields])


def _items(values: Sequence[bytes]) -> list[bytes]:
    """The members of a list that may stand in several fields."""
    return [item for value in values for part in value.split(b",") if (item := part.strip(b" \t"))]


def _beside(values: list[bytes], fors: list[bytes], at: int) -> bytes:
    """Which of several values counts: the one that was written together with the client's address, if each was; else
    the last, which the proxy next to us wrote."""
    if not values:
        return b""
    return values[at] if len(values) == len(fors) else values[-1]


def walk(nodes: Sequence[bytes], peer: tuple[str, int] | None, trust: Trust) -> tuple[tuple[str, int] | None, int]:
    """The client's address, and the index of the node that tells it. Where a trusted proxy does not tell an address
    (`unknown`, or a name it made up), the last one that is known stays."""
    client, at = peer, len(nodes)
    while at > 0:
        at -= 1
        node = parse_node(nodes[at])
        if node is None:
            break
        client = node
        if not trust.has(client):
            break
    return client, at


def parse_node(node: bytes) -> Node | None:
    """`192.0.2.1`, `192.0.2.1:80`, `[2001:db8::1]:80`; also `2001:db8::1`. None for all that is no address."""
    text = node.decode("latin-1")
    match = _NODE.fullmatch(text)
    host, port = (match[1].strip("[]"), match[2] or "") if match is not None else (text, "")
    address = parse_address(host)
    if address is None or "%" in host or (port.isdigit() and int(port) > 65535):
        return None
    return str(address), int(port) if port.isdigit() else 0


def parse_forwarded(values: Sequence[bytes]) -> list[dict[bytes, bytes]]:
    """The elements of all Forwarded fields, each with its parameters by their names in lower case (RFC 7239, 4).

    Raises RequestError: a client that could break the list would take the proxy's place in it.
    """
    elements: list[dict[bytes, bytes]] = []
    for value in values:
        element: dict[bytes, bytes] = {}
        at = 0
        while at <= len(value):
            match = _PAIR.match(value, at)
            if match is None or (match[1] or b"").lower() in element:
                raise RequestError(400, "malformed Forwarded field")
            if match[1]:
                plain = match[2] if match[2] is not None else _QUOTED.sub(rb"\1", match[3])
                element[match[1].lower()] = plain
            if match[4] != b";":
                if element:
                    elements.append(element)
                element = {}
            at = match.end() if match[4] else len(value) + 1
    return elements
