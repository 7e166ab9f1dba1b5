"""What a WSGI app's answers become (PEP 3333)."""

import threading
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from tests.apps.wsgi_apps import CLOSE, PLAIN, Body, Environ, StartResponse, answering, endless
from tests.apps.wsgi_server import WsgiServer
from tests.processes.patience import GUARD_SECONDS


@pytest.mark.parametrize("body", [[b"hello"], (b"hello",), [b"he", b"", b"llo"]])
def test_a_list_is_sent_with_its_length(body: Iterable[bytes]) -> None:
    with WsgiServer(answering(body)) as server:
        reply = server.get()
    assert (reply.status, reply.text) == (200, "hello")
    assert "content-length: 5" in reply.head
    assert "Content-Type: text/plain" in reply.head


def test_a_large_list_is_sent_with_its_length_too() -> None:
    with WsgiServer(answering([b"x" * 50_000] * 10)) as server:
        assert len(server.get().text) == 500_000


def test_the_standard_reason_is_sent_whatever_the_app_calls_it() -> None:
    with WsgiServer(answering([b""], "404 Nobody Home")) as server:
        assert server.get().head.startswith("HTTP/1.1 404 Not Found\r\n")


def test_an_empty_body_has_length_zero() -> None:
    bodies: list[Iterable[bytes]] = [[], [b""], iter([])]
    for body in bodies:
        with WsgiServer(answering(body)) as server:
            assert "content-length: 0" in server.get().head


def test_pieces_arrive_while_the_app_makes_more() -> None:
    gate = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield b"first"
        assert gate.wait(GUARD_SECONDS)
        yield b"last"

    with WsgiServer(answering(pieces)) as server:
        client = server.asking()
        head = client.receive_until(b"5\r\nfirst\r\n")
        assert b"transfer-encoding: chunked" in head
        gate.set()
        assert client.receive_until(b"0\r\n\r\n") == b"4\r\nlast\r\n0\r\n\r\n"


def test_write_sends_before_the_iterable_does() -> None:
    gate = threading.Event()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", PLAIN)
        write(b"written ")
        assert gate.wait(GUARD_SECONDS)
        write(b"")
        return [b"returned"]

    with WsgiServer(app) as server:
        client = server.asking()
        client.receive_until(b"written \r\n")
        gate.set()
        assert client.receive_until(b"0\r\n\r\n") == b"8\r\nreturned\r\n0\r\n\r\n"


def test_a_declared_length_is_sent_for_a_stream() -> None:
    gate = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield b"he"
        gate.wait(GUARD_SECONDS)
        yield b"llo"

    with WsgiServer(answering(pieces, headers=[("Content-Length", "5")])) as server:
        client = server.asking()
        assert b"content-length: 5" in client.receive_until(b"he")
        gate.set()
        client.receive_until(b"llo")
        assert client.get("/").text == "hello"  # the connection is kept


def test_http_1_0_gets_a_stream_until_close() -> None:
    gate = threading.Event()
    gate.set()

    def pieces() -> Iterator[bytes]:
        yield b"a" * 100_000
        yield b"b" * 100_000

    with WsgiServer(answering(pieces)) as server:
        answer = server.exchange(b"GET / HTTP/1.0\r\n\r\n")
    assert b"chunked" not in answer
    assert answer.endswith(b"ab" + b"b" * 99_999)


@pytest.mark.parametrize(
    ("status", "method"), [("200 OK", "HEAD"), ("204 No Content", "GET"), ("304 Not Modified", "GET")]
)
@pytest.mark.parametrize("headers", [[], [("Content-Length", "9")]])
@pytest.mark.parametrize("kind", [list, iter])
def test_no_body_where_none_belongs(status: str, method: str, headers: Any, kind: Any) -> None:
    body = Body([b"body ", b"body"])
    with WsgiServer(answering(body if kind is iter else [b"body ", b"body"], status, headers)) as server:
        answer = server.exchange(f"{method} / HTTP/1.1\r\nhost: a\r\n".encode() + CLOSE)
    head, _, rest = answer.partition(b"\r\n\r\n")
    assert rest == b""
    assert b"chunked" not in head
    assert (b"content-length: 9" in head) == (
        status[:3] != "204" and (bool(headers) or (kind is list and method == "HEAD"))
    )
    if kind is iter:
        body.wait_closed_once()


def test_head_of_an_endless_stream_ends() -> None:
    body = Body(endless(b"x"))
    with WsgiServer(answering(body)) as server:
        answer = server.exchange(b"HEAD / HTTP/1.1\r\nhost: a\r\n" + CLOSE)
        assert answer.endswith(b"\r\n\r\n")
        assert b"content-length" not in answer
        body.wait_closed_once()


def test_start_response_may_come_with_the_first_piece() -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        yield b""
        start_response("201 Created", PLAIN)
        yield b"late"

    with WsgiServer(app) as server:
        reply = server.get()
    assert reply.status == 201


def test_hop_by_hop_fields_are_left_out_but_close_closes(caplog: pytest.LogCaptureFixture) -> None:
    headers = [("Connection", "close"), ("Transfer-Encoding", "chunked"), ("Keep-Alive", "timeout=9"), ("X-A", "é")]
    with WsgiServer(answering([b"x"], headers=headers)) as server:
        answer = server.exchange(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    assert b"chunked" not in answer
    assert b"timeout=9" not in answer
    assert b"X-A: \xe9\r\n" in answer
    assert "Transfer-Encoding: chunked is left out" in caplog.text
