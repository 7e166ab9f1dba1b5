"""Ask a server one thing and read the whole answer: is it up, does it answer what the others answer?"""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

ANSWER_SECONDS = 30.0  # a server that has just started may still be importing
BODY = b"Hello, world!"
SHOWN_BYTES = 40  # of a body in an error


class ProbeError(Exception):
    """The server answered something else than it should."""


@dataclass(frozen=True)
class Answer:
    """One response. Field names are lower case."""

    status: int
    fields: dict[str, str]
    body: bytes


def read_head(stream: BinaryIO) -> tuple[int, dict[str, str]]:
    """Status and fields of a response. ProbeError if it is none, OSError if the server closed instead."""
    line = stream.readline()
    if not line:
        raise ConnectionResetError("closed without an answer")
    parts = line.split(None, 2)
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/1.") or not parts[1].isdigit():
        raise ProbeError(f"not a status line: {line!r}")
    fields = {}
    while (line := stream.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode("latin-1").partition(":")
        fields[name.strip().lower()] = value.strip()
    return int(parts[1]), fields


def read_answer(stream: BinaryIO) -> Answer:
    """Read one response that tells its end. ProbeError if it is none, OSError if the server closed instead."""
    status, fields = read_head(stream)
    if fields.get("transfer-encoding", "").lower() == "chunked":
        return Answer(status, fields, read_chunks(stream))
    if not fields.get("content-length", "").isdigit():
        raise ProbeError(f"no content-length in {fields}")
    return Answer(status, fields, stream.read(int(fields["content-length"])))


def read_chunks(stream: BinaryIO) -> bytes:
    """The body of a chunked response. ProbeError where a chunk is malformed or the end is missing."""
    body = bytearray()
    while True:
        line = stream.readline()
        try:
            size = int(line.partition(b";")[0], 16)
        except ValueError:
            raise ProbeError(f"not the size of a chunk: {line!r}") from None
        body += stream.read(size)
        if (end := stream.readline()) != b"\r\n":
            raise ProbeError(f"a chunk of {size} bytes ends with {end!r}")
        if size == 0:
            return bytes(body)


def trusting(certificate: Path) -> ssl.SSLContext:
    """A client that takes this certificate and no other, and TLS 1.3 and nothing older. Raises OSError."""
    context = ssl.create_default_context(cafile=str(certificate))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


@contextmanager
def connected(
    port: int, seconds: float = ANSWER_SECONDS, tls: ssl.SSLContext | None = None
) -> Iterator[tuple[socket.socket, BinaryIO]]:
    """A new connection, and what arrives on it. OSError where it fails or, later, is silent for `seconds`."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=seconds) as plain,
        tls.wrap_socket(plain, server_hostname="127.0.0.1") if tls else plain as connection,
        connection.makefile("rb") as stream,
    ):
        yield connection, stream


def ask(
    port: int,
    request: bytes,
    answers: int = 1,
    closes: bool = False,
    seconds: float = ANSWER_SECONDS,
    tls: ssl.SSLContext | None = None,
) -> list[Answer]:
    """Send one write on a new connection and read its answers. With `closes`, the server is to close after them.

    Raises ProbeError, or OSError where the connection fails or is silent for `seconds`.
    """
    with connected(port, seconds, tls) as (connection, stream):
        connection.sendall(request)
        found = [read_answer(stream) for _ in range(answers)]
        if closes and stream.read(1):
            raise ProbeError("bytes after the last answer")
        return found


def check(answer: Answer, kind: str, body: bytes) -> None:
    """ProbeError unless it is 200 with that type and exactly that body."""
    given = answer.fields.get("content-type", "")
    if answer.status != 200 or not given.startswith(kind) or answer.body != body:
        raise ProbeError(
            f"answered {answer.status} {given!r} {answer.body[:SHOWN_BYTES]!r} ({len(answer.body)} bytes)"
            f" instead of 200 {kind!r} {body[:SHOWN_BYTES]!r} ({len(body)} bytes)"
        )


def check_hello(answer: Answer) -> None:
    """ProbeError unless it is the hello that every server gives: 200, text/plain, the same 13 bytes."""
    check(answer, "text/plain", BODY)
