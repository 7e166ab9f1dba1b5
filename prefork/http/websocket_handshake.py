"""The WebSocket opening handshake, as far as it can be told from the request (RFC 6455, 4.2; RFC 7692, 7.1)."""

import base64
import logging
from functools import cache
from typing import TYPE_CHECKING, Final

from prefork.errors import RequestError

try:
    from websockets.exceptions import InvalidHeaderFormat, NegotiationError
    from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
    from websockets.headers import build_extension, parse_extension, parse_subprotocol
    from websockets.utils import accept_key

    from prefork.http.websocket import WebSocket
except ImportError:
    if not TYPE_CHECKING:
        WebSocket = None

if TYPE_CHECKING:
    from websockets.extensions.permessage_deflate import PerMessageDeflate

    from prefork.http.exchange import Exchange

VERSION: Final = b"13"
KEY_BYTES: Final = 16
# 2^12 bytes of window and small hash tables: some 45 KB for each connection that compresses instead of 300, for a few
# percent of its compression.
WINDOW_BITS: Final = 12
MEMORY_LEVEL: Final = 5

_log = logging.getLogger("prefork.http")


def open_websocket(exchange: "Exchange") -> "WebSocket":
    """The WebSocket that a request asks for, which waits to be accepted or denied. Raises RequestError (400, 426, 501)
    for a handshake that breaks a rule, or for a server that cannot do it."""
    if WebSocket is None:
        _tell_once()
        raise RequestError(501, "this server is installed without WebSocket")
    if exchange.has_body:
        raise RequestError(400, "a WebSocket handshake has no body")
    if exchange.values(b"sec-websocket-version") != [VERSION]:
        fields = ((b"sec-websocket-version", VERSION),)
        raise RequestError(426, "the only WebSocket version here is 13 (Sec-WebSocket-Version)", fields)
    key = _key(exchange.values(b"sec-websocket-key"))
    try:
        subprotocols = [
            name for line in _lines(exchange, b"sec-websocket-protocol") for name in parse_subprotocol(line)
        ]
        compresses = exchange.connection.service.settings.websocket_compression
        extension, deflate = _negotiate(_lines(exchange, b"sec-websocket-extensions")) if compresses else ("", None)
    except InvalidHeaderFormat as error:
        raise RequestError(400, f"{error}") from None
    answer = [(b"upgrade", b"websocket"), (b"sec-websocket-accept", accept_key(key).encode())]
    if deflate is not None:
        answer.append((b"sec-websocket-extensions", extension.encode()))
    return WebSocket(exchange, [str(name) for name in subprotocols], answer, deflate)


@cache
def _tell_once() -> None:
    _log.error("a WebSocket was asked for, which needs the package websockets: pip install 'prefork[standard]'")


def _key(values: list[bytes]) -> str:
    try:
        (key,) = values
        if len(base64.b64decode(key, validate=True)) == KEY_BYTES:
            return key.decode("ascii")
    except ValueError:  # none, several, or no base64
        pass
    raise RequestError(400, f"Sec-WebSocket-Key must be there once: {KEY_BYTES} bytes in base64")


def _lines(exchange: "Exchange", name: bytes) -> list[str]:
    return [value.decode("latin-1") for value in exchange.values(name)]


def _negotiate(lines: list[str]) -> "tuple[str, PerMessageDeflate | None]":
    """The first offer of permessage-deflate that can be met, as it is answered, and what does it."""
    factory = ServerPerMessageDeflateFactory(
        server_max_window_bits=WINDOW_BITS,
        client_max_window_bits=WINDOW_BITS,
        compress_settings={"memLevel": MEMORY_LEVEL},
    )
    for line in lines:
        for name, parameters in parse_extension(line):
            if name == factory.name:
                try:
                    answered, deflate = factory.process_request_params(parameters, [])
                except NegotiationError:
                    continue
                return build_extension([(name, answered)]), deflate
    return "", None
