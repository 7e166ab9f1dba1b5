"""Which peers are proxies that may speak for others (`--forwarded-allow`)."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from prefork.settings.items import parse_network

REMEMBERED: Final = 4096  # hosts, with the verdict over each


class Trust:
    """The networks of the operator's proxies."""

    def __init__(self, networks: list[str]) -> None:
        """As the setting lists them. Raises ValueError."""
        parsed = [parse_network(network) for network in networks]
        self._unix = "unix" in parsed
        self._networks = [network for network in parsed if network != "unix"]
        self._remembered = lru_cache(REMEMBERED)(self._find)

    def has(self, peer: tuple[str, int] | None) -> bool:
        """Whether this peer is one of them; None is a peer on a Unix socket."""
        return self._unix if peer is None else self._remembered(peer[0])

    def _find(self, host: str) -> bool:
        address = parse_address(host)
        return address is not None and any(
            address.version == network.version and address in network for network in self._networks
        )


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """An IP address, without its zone; an IPv4 address that was written as an IPv6 one is what it means (RFC 4291)."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
