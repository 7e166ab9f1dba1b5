"""Ask a server one thing and read the whole answer: is it up, does it answer what the others answer?"""

import socket
from dataclasses import dataclass
from typing import BinaryIO

ANSWER_SECONDS = 30.0  # a server that has just started may still be importing
BODY = b"Hello, world!"


class ProbeError(Exception):
    """The server answered something else than it should."""


@dataclass(frozen=True)
class Answer:
    """One response. Field names are lower case."""

    status: int
    fields: dict[str, str]
    body: bytes


def read_answer(stream: BinaryIO) -> Answer:
    """Read one response with a declared length. ProbeError if it is none, OSError if the server closed instead."""
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
    if not fields.get("content-length", "").isdigit():
        raise ProbeError(f"no content-length in {fields}")
    return Answer(int(parts[1]), fields, stream.read(int(fields["content-length"])))


def ask(
    port: int, request: bytes, answers: int = 1, closes: bool = False, seconds: float = ANSWER_SECONDS
) -> list[Answer]:
    """Send one write on a new connection and read its answers. With `closes`, the server is to close after them.

    Raises ProbeError, or OSError where the connection fails or is silent for `seconds`.
    """
    with (
        socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection,
        connection.makefile("rb") as stream,
    ):
        connection.sendall(request)
        found = [read_answer(stream) for _ in range(answers)]
        if closes and stream.read(1):
            raise ProbeError("bytes after the last answer")
        return found


def check_hello(answer: Answer) -> None:
    """ProbeError unless it is the answer that every server gives: 200, text/plain, the same 13 bytes."""
    kind = answer.fields.get("content-type", "")
    if answer.status != 200 or not kind.startswith("text/plain") or answer.body != BODY:
        raise ProbeError(f"answered {answer.status} {kind!r} {answer.body[:40]!r} instead of 200 'text/plain' {BODY!r}")
