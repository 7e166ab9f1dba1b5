"""A client on a raw socket, which never retries and never reconnects by itself: what is lost is seen."""

import select
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.processes.patience import GUARD_SECONDS

RECEIVE_BYTES = 64 * 1024


class Lost(Exception):
    """The server closed the connection before the response was complete."""


@dataclass(frozen=True)
class Reply:
    """One response, its body decoded by content-length."""

    status: int
    head: str
    text: str


class Client:
    """One connection."""

    def __init__(self, address: str) -> None:
        """`http://HOST:PORT` or `unix:PATH`."""
        self._received = b""
        if address.startswith("unix:"):
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.settimeout(GUARD_SECONDS)
            self._socket.connect(address.removeprefix("unix:"))
        else:
            host, _, port = address.removeprefix("http://").rpartition(":")
            self._socket = socket.create_connection((host.strip("[]"), int(port)), timeout=GUARD_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def send(self, path: str, fields: str = "", method: str = "GET", body: bytes = b"") -> None:
        """Ask for `path`; `fields` are further header lines, each with its end."""
        self._socket.sendall(f"{method} {path} HTTP/1.1\r\nhost: test\r\n{fields}\r\n".encode("latin-1") + body)

    def send_raw(self, data: bytes) -> None:
        """Bytes as they are; waits until the kernel has taken them."""
        self._socket.sendall(data)

    def receive_raw(self) -> bytes:
        """The bytes that come next; b"" when the server has closed."""
        if not self._received:
            return self._socket.recv(RECEIVE_BYTES)
        raw, self._received = self._received, b""
        return raw

    def receive(self) -> Reply:
        """The next response. Raises Lost, or OSError when the connection was reset."""
        while b"\r\n\r\n" not in self._received:
            self._receive_more()
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        while len(self._received) < length:
            self._receive_more()
        body, self._received = self._received[:length], self._received[length:]
        return Reply(int(head.split(b" ", 2)[1]), head.decode("latin-1"), body.decode())

    def receive_until(self, end: bytes) -> bytes:
        """Raw bytes up to and with `end`."""
        while end not in self._received:
            self._receive_more()
        before, _, self._received = self._received.partition(end)
        return before + end

    def get(self, path: str, fields: str = "") -> Reply:
        self.send(path, fields)
        return self.receive()

    def post(self, path: str, body: bytes) -> Reply:
        self.send(path, f"content-length: {len(body)}\r\n", "POST", body)
        return self.receive()

    def wait_closed(self) -> None:
        """Wait until the server closes, without another byte. Raises ConnectionResetError, AssertionError."""
        rest = self._received or self._socket.recv(RECEIVE_BYTES)
        assert rest == b"", rest

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def reset(self) -> None:
        """Leave without a word: the server sees a reset (socket(7), SO_LINGER)."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def _receive_more(self) -> None:
        piece = self._socket.recv(RECEIVE_BYTES)
        if not piece:
            raise Lost(f"closed after {self._received!r}")
        self._received += piece


def first_answered(clients: Sequence[Client]) -> Client:
    """Wait until one of them has something to read."""
    ready, _, _ = select.select(clients, [], [], GUARD_SECONDS)
    assert ready, "none was answered"
    first: Client = ready[0]
    return first


def fetch(address: str, path: str, fields: str = "") -> Reply:
    """Ask once, on a connection of its own that the server is told to close."""
    with Client(address) as client:
        reply = client.get(path, "connection: close\r\n" + fields)
        client.wait_closed()
        return reply
