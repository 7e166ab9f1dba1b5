"""A WSGI app that blocks, streams, reads and offloads. `/gate` waits in its thread until the test lets it go."""

import os
import re
import socket
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from prefork import offload

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], object]

PIECE = b"x" * (1 << 20)


def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    handler = HANDLERS.get(environ["PATH_INFO"])
    start_response("404 Not Found" if handler is None else "200 OK", [("Content-Type", "text/plain")])
    return [] if handler is None else handler(environ)


def who(environ: Environ) -> list[bytes]:
    return [str(os.getpid()).encode()]


def gate(environ: Environ) -> list[bytes]:
    wait_at_gate()
    return who(environ)


def stream(environ: Environ) -> Iterator[bytes]:
    """One piece at once, and one behind the gate."""
    yield b"first "
    wait_at_gate()
    yield b"last"


def pieces(environ: Environ) -> Iterator[bytes]:
    """As many MiB as the query says, and then the gate."""
    for _ in range(int(environ["QUERY_STRING"])):
        yield PIECE
    wait_at_gate()


def closing(environ: Environ) -> Iterator[bytes]:
    """Endless; the gate when it is closed."""
    try:
        while True:
            yield b"x" * 1000
    finally:
        wait_at_gate()


def count(environ: Environ) -> list[bytes]:
    """Reads one byte, waits at the gate, reads the rest."""
    body = environ["wsgi.input"]
    found = len(body.read(1))
    wait_at_gate()
    while piece := body.read(1 << 20):
        found += len(piece)
    return [str(found).encode()]


def peak(environ: Environ) -> list[bytes]:
    """The most memory this process has held, in KiB (proc(5))."""
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return [found[1].encode()]


def offloaded(environ: Environ) -> list[bytes]:
    pid: int = environ["prefork.wait"](offload(os_getpid))
    return [f"{os.getpid()} {pid}".encode()]


def os_getpid() -> int:
    return os.getpid()


def wait_at_gate() -> None:
    with socket.socket(socket.AF_UNIX) as end:
        end.connect("gate")
        end.recv(1)


HANDLERS: dict[str, Callable[[Environ], Iterable[bytes]]] = {
    "/who": who,
    "/gate": gate,
    "/stream": stream,
    "/pieces": pieces,
    "/closing": closing,
    "/count": count,
    "/peak": peak,
    "/offload": offloaded,
}
