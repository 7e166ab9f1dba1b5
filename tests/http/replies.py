"""Read what a server wrote, as strictly as a client should: every byte belongs to a response, or the test fails."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, repeat


@dataclass
class Reply:
    """One response."""

    status: int
    fields: dict[str, str]  # names in lower case
    body: bytes
    complete: bool = True  # False when the connection ended within it


def parse(received: bytes, methods: Iterable[str] = (), ended: bool = True) -> list[Reply]:
    """The responses to requests of these methods (GET beyond them), 1xx included. `ended`: nothing more will come."""
    replies: list[Reply] = []
    asked = chain(methods, repeat("GET"))
    method = next(asked)
    while received:
        head, end, received = received.partition(b"\r\n\r\n")
        if not end:
            replies.append(Reply(0, {}, head, False))
            break
        reply = _head(head)
        if reply.status >= 200:
            received = _take_body(reply, method, received, ended)
            method = next(asked)
        replies.append(reply)
    return replies


def _head(head: bytes) -> Reply:
    status_line, *lines = head.decode("latin-1").split("\r\n")
    version, status, reason = status_line.split(" ", 2)
    assert version == "HTTP/1.1"
    assert reason
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(": ")
        assert colon, f"no field: {line!r}"
        assert not set(line) & set("\r\n\0"), f"a forbidden byte got out: {line!r}"
        assert name.lower() not in fields, f"{name} twice"
        fields[name.lower()] = value
    assert not {"content-length", "transfer-encoding"} <= fields.keys()
    if int(status) >= 200:
        assert "date" in fields
    return Reply(int(status), fields, b"")


def _take_body(reply: Reply, method: str, rest: bytes, ended: bool) -> bytes:
    """Move the body's bytes from `rest` to the reply (RFC 9112, 6.3). Returns what follows them."""
    if method == "HEAD" or reply.status in (204, 304):
        return rest
    if "transfer-encoding" in reply.fields:
        return _take_chunks(reply, rest)
    length = int(reply.fields["content-length"]) if "content-length" in reply.fields else len(rest)
    reply.body = rest[:length]
    reply.complete = len(reply.body) == length and ("content-length" in reply.fields or ended)
    return rest[length:]


def _take_chunks(reply: Reply, rest: bytes) -> bytes:
    assert reply.fields["transfer-encoding"] == "chunked"
    while True:
        line, end, rest = rest.partition(b"\r\n")
        if not end:
            reply.complete = False
            return b""
        size = int(line, 16)
        if len(rest) < size + 2:
            reply.body += rest[:size]
            reply.complete = False
            return b""
        reply.body += rest[:size]
        assert rest[size : size + 2] == b"\r\n"
        rest = rest[size + 2 :]
        if size == 0:
            return rest
