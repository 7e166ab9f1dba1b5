"""Read the items of settings that are lists, from their text form. Nothing is looked up or opened here."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Literal

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
