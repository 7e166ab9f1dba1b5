"""The environ of a WSGI request (PEP 3333): what the client sent, as an app wants to read it."""

from functools import lru_cache
from typing import Any, BinaryIO, Final
from urllib.parse import unquote_to_bytes

from prefork import __version__
from prefork.apps.wsgi_errors import ErrorStream
from prefork.apps.wsgi_file import FileWrapper
from prefork.http.exchange import Exchange

Environ = dict[str, Any]
Address = tuple[str, int] | None

NAMES: Final = 1024  # of header fields whose keys are kept; clients make up new ones
PEERS: Final = 1024  # connections are many, and each asks often


class EnvironMaker:
    """Makes environs; what is the same for all requests of a connection is put together once."""

    def __init__(self, root_path: str) -> None:
        self._constant: Environ = {
            "SCRIPT_NAME": root_path.rstrip("/").encode().decode("latin-1"),
            "SERVER_SOFTWARE": f"prefork/{__version__}",
            "wsgi.version": (1, 0),
            "wsgi.errors": ErrorStream(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
            "wsgi.file_wrapper": FileWrapper,
            "wsgi.input_terminated": True,
        }
        self._of_peer = lru_cache(PEERS)(self._make_of_peer)

    def make(self, exchange: Exchange, body: BinaryIO) -> Environ:
        """The environ of a request whose body is read from `body`."""
        server = exchange.server
        environ = self._of_peer(exchange.client, server, exchange.scheme).copy()
        target = exchange.target
        path, _, query = target.partition(b"?")
        if b"%" in path:
            path = unquote_to_bytes(path)
        environ["REQUEST_METHOD"] = exchange.method
        environ["PATH_INFO"] = path.decode("latin-1") if path != b"*" else ""
        environ["QUERY_STRING"] = query.decode("latin-1")
        environ["RAW_URI"] = environ["REQUEST_URI"] = target.decode("latin-1")
        environ["SERVER_PROTOCOL"] = "HTTP/1.1" if exchange.http_minor else "HTTP/1.0"
        environ["wsgi.input"] = body
        for name, value in exchange.fields:
            key = _key(name)
            if key is None:
                continue
            if key in environ:
                between = "; " if key == "HTTP_COOKIE" else ", "  # RFC 9110, 5.3; RFC 6265, 5.4
                environ[key] += between + value.decode("latin-1")
            else:
                environ[key] = value.decode("latin-1")
        if server is None:
            _name_server(environ)
        return environ

    def _make_of_peer(self, client: Address, server: Address, scheme: str) -> Environ:
        environ = {**self._constant, "wsgi.url_scheme": scheme, "REMOTE_ADDR": ""}
        if scheme == "https":
            environ["HTTPS"] = "on"
        if client is not None:
            environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = client[0], str(client[1])
        if server is not None:
            environ["SERVER_NAME"], environ["SERVER_PORT"] = server[0], str(server[1])
        return environ


@lru_cache(NAMES)
def _key(name: bytes) -> str | None:
    """The key of a header field, from its name in lower case. None for a field that an app must not see.

    With `_` for `-`, `X_User` would pass for the `X-User` that a proxy sets. `Proxy` would pass for the variable
    HTTP_PROXY, which HTTP clients obey (CVE-2016-5385); no standard knows such a field.
    """
    if b"_" in name or name == b"proxy":
        return None
    key = name.decode("latin-1").upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + key


def _name_server(environ: Environ) -> None:
    """On a Unix socket, only the client knows under which name we serve."""
    host = environ.get("HTTP_HOST", "")
    name, colon, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
    if not colon:
        name, port = host, ""
    environ["SERVER_NAME"] = name or "localhost"
    environ["SERVER_PORT"] = port or ("443" if environ["wsgi.url_scheme"] == "https" else "80")
