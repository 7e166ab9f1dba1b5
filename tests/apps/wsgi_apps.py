"""WSGI apps that tests are made of."""

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tests.processes.patience import GUARD_SECONDS

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
PLAIN = [("Content-Type", "text/plain")]
CLOSE = b"connection: close\r\n\r\n"


def answering(body: Any, status: str = "200 OK", headers: Any = PLAIN) -> Callable[..., Any]:
    def app(environ: Environ, start_response: StartResponse) -> Any:
        start_response(status, headers)
        return body() if callable(body) else body

    return app


class Body:
    """An iterable that counts how often it is closed, and in which thread."""

    def __init__(self, pieces: Iterable[Any]) -> None:
        self.pieces = pieces
        self.closed_by: list[str] = []
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.pieces)

    def close(self) -> None:
        self.closed_by.append(threading.current_thread().name)
        self.closed.set()

    def wait_closed_once(self) -> None:
        assert self.closed.wait(GUARD_SECONDS)
        assert len(self.closed_by) == 1
        assert self.closed_by[0].startswith("prefork-wsgi-")


def endless(piece: bytes) -> Iterator[bytes]:
    while True:
        yield piece
