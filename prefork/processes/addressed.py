"""What a server that listens says of where."""

from typing import Protocol
from urllib.parse import urlsplit


class Listening(Protocol):
    """Whoever has addresses: `http://HOST:PORT`, `https://HOST:PORT` or `unix:PATH` each."""

    @property
    def addresses(self) -> list[str]: ...


class Addressed:
    """What follows from the addresses."""

    @property
    def url(self: Listening) -> str:
        """The first of `addresses`."""
        return self.addresses[0]

    @property
    def port(self: Listening) -> int:
        """The TCP port of `url`. Raises RuntimeError for a Unix socket."""
        url = self.addresses[0]
        port = urlsplit(url).port
        if port is None:
            raise RuntimeError(f"{url} has no port")
        return port
