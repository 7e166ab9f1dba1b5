"""Read the items of settings that are lists, from their text form. Nothing is looked up or opened here."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final, Literal, NamedTuple

from prefork.settings.address import TcpAddress, UnixAddress, parse_bind

MOST_WORKERS: Final = 1024
ADMIN_HOST: Final = "127.0.0.1"

Network = IPv4Network | IPv6Network | Literal["unix"]


def parse_network(text: str) -> Network:
    """`10.0.0.0/8`, `::1`, or `unix` for the peers on unix sockets. ValueError says what would be right."""
    if text == "unix":
        return "unix"
    try:
        return ip_network(text)
    except ValueError:
        pass
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise ValueError("write a network such as 10.0.0.0/8, an address, or unix") from None
    raise ValueError(f"the address has bits beyond the mask; write {network}")


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder whose files are served below `path`, which starts with a slash and does not end with one."""

    path: str
    folder: str


def parse_mount(text: str) -> Mount:
    """`/assets=dir`; `/=dir` serves the folder at the root. ValueError says what would be right."""
    path, equals, folder = text.partition("=")
    if not equals or not folder:
        raise ValueError("write the path and the folder, such as /assets=dir")
    if not path.startswith("/") or "//" in path or any(char in path for char in "?#%{}"):
        raise ValueError("the path starts with a slash and is written plainly, such as /assets=dir")
    return Mount(path.rstrip("/"), folder)


class WorkerRange(NamedTuple):
    """How many workers there are: at least `low`, at most `high`."""

    low: int
    high: int


def parse_workers(text: str, cpus: int = 1) -> WorkerRange:
    """`auto`, which is as many as there are CPUs, `4`, or `2:8`. ValueError says what would be right."""
    if text == "auto":
        return WorkerRange(cpus, cpus)
    low, colon, high = text.partition(":")
    found = WorkerRange(int(low), int(high if colon else low))
    if not 1 <= found.low <= found.high <= MOST_WORKERS:
        raise ValueError(f"must be MIN:MAX with 1 ≤ MIN ≤ MAX ≤ {MOST_WORKERS}")
    return found


def parse_admin(text: str) -> TcpAddress | UnixAddress:
    """`9100`, which is on 127.0.0.1, `HOST:PORT` or `unix:/path`. ValueError says what would be right."""
    try:
        address = parse_bind(f"{ADMIN_HOST}:{text}" if text.isdigit() else text)
    except ValueError as error:
        raise ValueError(f"must be PORT, HOST:PORT or unix:/path: {error}") from None
    if not isinstance(address, TcpAddress | UnixAddress):
        raise ValueError("must be PORT, HOST:PORT or unix:/path")
    return address


def check_token(text: str) -> None:
    """A token travels in a header field, where clients disagree about other letters. ValueError says so."""
    if not text.isascii() or text != text.strip():
        raise ValueError("must be plain ASCII, without a space at its ends: it is sent in a header")
