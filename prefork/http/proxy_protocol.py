"""Read a PROXY protocol header, version 1 or 2: whom a proxy speaks for. Bytes in, addresses out.

The header is the first thing on a connection, and is there once. What it may weigh is bounded. The specification is
HAProxy's `proxy-protocol.txt`; numbers below are its sections.
"""

import re
import socket
from dataclasses import dataclass
from typing import Final

V1_BYTES: Final = 107  # the longest line of version 1, with its CRLF (2.1)
V2_BYTES: Final = 16 + 4096  # addresses have 216 at most; the rest is what a proxy adds, such as a client certificate

_V1: Final = b"PROXY "
_V2: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_HEAD: Final = 16  # signature, version and command, family and transport, length
_PORT: Final = rb"(0|[1-9]\d{0,4})"
_LINE = re.compile(rb"PROXY (TCP[46]) ([0-9A-Fa-f:.]{2,45}) ([0-9A-Fa-f:.]{2,45}) " + _PORT + rb" " + _PORT + rb"\r\n")
_LOCAL, _PROXY = range(2)  # commands
_UNSPEC, _TCP4, _TCP6, _UNIX = 0x00, 0x11, 0x21, 0x31
_ADDRESS_BYTES: Final = {_UNSPEC: 0, _TCP4: 12, _TCP6: 36, _UNIX: 216}
_CRC32C: Final = 0x03  # type of the TLV that holds a checksum over the whole header (2.2.3)


class ProxyError(Exception):
    """The connection does not begin with a header that the specification knows."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Whom the proxy speaks for, and where that one had connected to."""

    client: tuple[str, int]
    server: tuple[str, int]


def measure(data: bytes) -> tuple[int, bool]:
    """How many bytes of `data`, the first of a connection, belong to the header, and whether it is complete.

    Raises ProxyError as soon as they cannot become one.
    """
    if data.startswith(_V2[: len(data)]):
        if len(data) < _V2_HEAD:
            return len(data), False
        end = _V2_HEAD + int.from_bytes(data[14:16], "big")
        if end > V2_BYTES:
            raise ProxyError(f"the PROXY header has {end} bytes, more than {V2_BYTES}")
        return min(end, len(data)), len(data) >= end
    if not data.startswith(_V1[: len(data)]):
        raise ProxyError("there is no PROXY header")
    end = data.find(b"\r\n", 0, V1_BYTES) + 2
    if end < 2 and len(data) >= V1_BYTES:
        raise ProxyError(f"the PROXY line is longer than {V1_BYTES} bytes")
    return (len(data), False) if end < 2 else (end, True)


def parse(header: bytes) -> Addresses | None:
    """The addresses of a complete header; None when the connection's own are meant. Raises ProxyError."""
    return _parse_v2(header) if header.startswith(_V2) else _parse_v1(header)


def _parse_v1(header: bytes) -> Addresses | None:
    if header.startswith((b"PROXY UNKNOWN ", b"PROXY UNKNOWN\r")):
        return None  # whatever follows is to be ignored (2.1)
    match = _LINE.fullmatch(header)
    if match is None:
        raise ProxyError("malformed PROXY line")
    family = socket.AF_INET if match[1] == b"TCP4" else socket.AF_INET6
    ports = int(match[4]), int(match[5])
    if max(ports) > 65535:
        raise ProxyError("malformed PROXY line")
    try:
        client, server = (socket.inet_pton(family, match[index].decode()) for index in (2, 3))
    except OSError:
        raise ProxyError("malformed address in the PROXY line") from None
    return _addresses(family, client, server, *ports)


def _parse_v2(header: bytes) -> Addresses | None:
    version, command = header[12] >> 4, header[12] & 0x0F
    if version != 2 or command not in (_LOCAL, _PROXY):
        raise ProxyError(f"unknown version or command in the PROXY header: {header[12]:#04x}")
    if command == _LOCAL:
        return None  # the proxy's own doing, a health check: what follows is to be ignored (2.2)
    size = _ADDRESS_BYTES.get(header[13])
    if size is None:
        raise ProxyError(f"unknown family or transport in the PROXY header: {header[13]:#04x}")
    block = header[_V2_HEAD : _V2_HEAD + size]
    if len(block) < size:
        raise ProxyError("the PROXY header is too short for its addresses")
    _check_extensions(header, _V2_HEAD + size)
    if header[13] in (_UNSPEC, _UNIX):
        return None  # a client of a Unix socket of the proxy's has no address that means something here
    width = (size - 4) // 2
    family = socket.AF_INET if header[13] == _TCP4 else socket.AF_INET6
    ports = (int.from_bytes(block[at : at + 2], "big") for at in (2 * width, 2 * width + 2))
    return _addresses(family, block[:width], block[width : 2 * width], *ports)


def _check_extensions(header: bytes, at: int) -> None:
    """Step over type, length, value (2.2.x); a checksum must be right."""
    while at < len(header):
        end = at + 3 + int.from_bytes(header[at + 1 : at + 3], "big")
        if at + 3 > len(header) or end > len(header):
            raise ProxyError("the PROXY header ends within an extension")
        if header[at] == _CRC32C:
            zeroed = header[: at + 3] + bytes(end - at - 3) + header[end:]
            if end - at != 7 or crc32c(zeroed) != int.from_bytes(header[at + 3 : end], "big"):
                raise ProxyError("the checksum of the PROXY header is wrong")
        at = end


def crc32c(data: bytes) -> int:
    """The checksum of RFC 3720, appendix B.4 (Castagnoli)."""
    value = 0xFFFFFFFF
    for byte in data:
        value = _CRC_TABLE[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFF


def _crc_of(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_CRC_TABLE: Final = tuple(_crc_of(byte) for byte in range(256))


def _addresses(family: int, client: bytes, server: bytes, client_port: int, server_port: int) -> Addresses:
    return Addresses((socket.inet_ntop(family, client), client_port), (socket.inet_ntop(family, server), server_port))
