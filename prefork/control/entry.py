"""Who may speak to the admin server, and steer the server through it."""

import hmac
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from prefork.control.table import Command
from prefork.settings import Address, TcpAddress

LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})

_SCHEME: Final = "bearer "


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer instead of what was asked for."""

    status: int
    words: str
    fields: tuple[tuple[str, str], ...] = ()


class Entry:
    """The rules. `token` is the setting's; None: nobody may steer. `addresses`: those listened on, as they are set and
    as they are bound."""

    def __init__(self, token: str | None, addresses: Iterable[Address]) -> None:
        self._token = None if token is None else token.encode()
        self._hosts = _hosts(list(addresses))

    def refuse_host(self, host: str | None) -> Refusal | None:
        """A page of another site can reach a loopback address through a name of its own (DNS rebinding), and then the
        browser lets it read what we answer. Such a request names that site as its host."""
        if self._hosts is None or host is None or _name(host) in self._hosts:
            return None
        return Refusal(403, f"host {host!r:.80} is not served here, only {', '.join(sorted(self._hosts))}")

    def refuse_command(self, command: Command, authorization: str | None) -> Refusal | None:
        """A command that changes something needs the token. Others do not; but a token that is given has to be right:
        so a client can find out."""
        if authorization is None and command.access == "read":
            return None
        if self._token is None:
            words = "there is no --admin-token: commands that change the server are refused"
            return Refusal(403, f"{command.name} is refused: {words}")
        if authorization is None or not authorization.lower().startswith(_SCHEME):
            return Refusal(401, f"{command.name} needs the token (Authorization: Bearer TOKEN)", _challenge())
        given = authorization[len(_SCHEME) :].strip().encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(given, self._token):
            return Refusal(401, "the token is wrong", _challenge(', error="invalid_token"'))
        return None


def _challenge(more: str = "") -> tuple[tuple[str, str]]:
    return (("www-authenticate", f'Bearer realm="prefork"{more}'),)


def _hosts(addresses: list[Address]) -> frozenset[str] | None:
    """The names that a client of these addresses may use; None when they are not all loopback ones."""
    bound = [address.host for address in addresses if isinstance(address, TcpAddress)]
    if len(bound) < len(addresses) or not all(map(_is_loopback, bound)):
        return None
    return LOOPBACK_NAMES | {f"[{host}]" if ":" in host else host for host in bound}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True  # a name: what it is bound to tells


def _name(host: str) -> str:
    """A Host field without its port, as it is compared."""
    name, colon, port = host.strip().lower().rpartition(":")
    if not colon or not port.isdigit():
        name = host.strip().lower()
    return name.rstrip(".")
