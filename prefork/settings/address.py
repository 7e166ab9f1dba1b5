"""Read a bind address from its text form. Nothing is resolved or opened here."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass

PATH_BYTES = 107  # sun_path holds 108 with its closing NUL, see unix(7)
PORT = re.compile(r"[0-9]{1,5}")
HOST = re.compile(r"[A-Za-z0-9._-]+")
DESCRIPTOR = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A host name or IP address (IPv6 without brackets) and a port from 0 to 65535."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """The path of a unix stream socket."""

    path: str


@dataclass(frozen=True, slots=True)
class InheritedAddress:
    """The number of a descriptor that is a listening socket already."""

    fd: int


Address = TcpAddress | UnixAddress | InheritedAddress


def parse_bind(text: str) -> Address:
    """`HOST:PORT`, `[::1]:PORT`, `unix:/path` or `fd://N`. ValueError says what would be right."""
    if text.startswith("unix:"):
        return UnixAddress(_path(text.removeprefix("unix:")))
    if text.startswith("fd://"):
        number = text.removeprefix("fd://")
        if not DESCRIPTOR.fullmatch(number):
            raise ValueError("write fd:// and the descriptor's number, such as fd://3")
        return InheritedAddress(int(number))
    host, colon, port = text.rpartition(":")
    if not colon:
        raise ValueError("write HOST:PORT, [::1]:PORT, unix:/path or fd://N")
    if not host:
        raise ValueError(f"the host is missing; for all interfaces write 0.0.0.0:{port} or [::]:{port}")
    if not PORT.fullmatch(port) or int(port) > 65535:
        raise ValueError("the port must be a number from 0 to 65535")
    return TcpAddress(_host(host), int(port))


def _path(path: str) -> str:
    if not path:
        raise ValueError("write unix: and the socket's path, such as unix:/run/prefork.sock")
    if len(path.encode(errors="surrogateescape")) > PATH_BYTES:
        raise ValueError(f"the path of a unix socket may have at most {PATH_BYTES} bytes")
    return path


def _host(host: str) -> str:
    if host.startswith("[") and host.endswith("]"):
        address, percent, zone = host[1:-1].partition("%")
        try:
            packed = socket.inet_pton(socket.AF_INET6, address)
        except (OSError, ValueError):
            raise ValueError("there is no valid IPv6 address in the brackets") from None
        return socket.inet_ntop(socket.AF_INET6, packed) + percent + zone
    if ":" in host:
        raise ValueError("write an IPv6 address in brackets, such as [::1]:8000")
    if not HOST.fullmatch(host):
        raise ValueError("the host must be a name or an IP address")
    return host.lower()
