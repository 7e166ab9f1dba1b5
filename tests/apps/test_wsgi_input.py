"""wsgi.input: a file that is read in a thread and filled by the loop, within limits, or broken off with a reason."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from prefork.apps.wsgi_input import AHEAD_BYTES, BodyError
from prefork.errors import Disconnected, RequestError
from tests.apps.wsgi_server import WsgiServer
from tests.processes.client import Client, Reply
from tests.processes.patience import GUARD_SECONDS

Read = Callable[[Any], Any]
BODY = b"one\ntwo\r\n\nlast"
CHUNKED = "transfer-encoding: chunked\r\n"


def reading(read: Read) -> Callable[..., list[bytes]]:
    """An app that answers what `read` makes of wsgi.input."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        found = read(environ["wsgi.input"])
        start_response("200 OK", [])
        return [found if isinstance(found, bytes) else repr(found).encode()]

    return app


def send_slowly(client: Client, body: bytes, chunked: bool) -> Reply:
    """Head and body apart, so that the body has not arrived when the app is called."""
    fields = CHUNKED if chunked else f"content-length: {len(body)}\r\n"
    client.send("/", fields + "expect: 100-continue\r\n", "POST")
    client.receive_until(b"HTTP/1.1 100 Continue\r\n\r\n")
    if chunked:
        body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:2], body[2:])) + b"0\r\n\r\n"
    client.send_raw(body)
    return client.receive()


READS: list[tuple[Read, Any]] = [
    (lambda body: body.read(), BODY),
    (lambda body: body.read(-1), BODY),
    (lambda body: body.read(5), BODY[:5]),
    (lambda body: body.read(10**15), BODY),
    (lambda body: body.read(None), BODY),
    (lambda body: [body.read(5), body.read(0), body.read(1000), body.read(1), body.read()], None),
    (lambda body: body.readline(), b"one\n"),
    (lambda body: body.readline(2), b"on"),
    (lambda body: body.readlines(), [b"one\n", b"two\r\n", b"\n", b"last"]),
    (lambda body: body.readlines(1), [b"one\n"]),
    (lambda body: list(body), [b"one\n", b"two\r\n", b"\n", b"last"]),
    (lambda body: [next(iter(body)), body.read(2), body.readline()], [b"one\n", b"tw", b"o\r\n"]),
]


@pytest.mark.parametrize("way", ["at once", "length", "chunked"])
@pytest.mark.parametrize("index", range(len(READS)))
def test_a_body_is_read_as_a_file(way: str, index: int) -> None:
    read, expected = READS[index]
    expected = expected if expected is not None else [BODY[:5], b"", BODY[5:], b"", b""]
    with WsgiServer(reading(read)) as server:
        reply = server.post(BODY) if way == "at once" else send_slowly(server.client(), BODY, way == "chunked")
    assert reply.text == (expected.decode() if isinstance(expected, bytes) else repr(expected))


def test_without_a_body_there_is_nothing_to_read() -> None:
    with WsgiServer(reading(lambda body: [body.read(), body.readline(), body.readlines(), list(body)])) as server:
        assert server.get().text == "[b'', b'', [], []]"


def test_a_large_body_arrives_whole_and_the_connection_is_kept() -> None:
    large = bytes(range(256)) * 20_000
    with WsgiServer(reading(lambda body: body.read() == large)) as server:
        client = server.client()
        for _ in range(3):
            assert client.post("/", large).text == "True"


def test_pieces_come_while_the_client_sends_more() -> None:
    got, gate = threading.Event(), threading.Event()

    def read(body: Any) -> bytes:
        first = body.readline()
        got.set()
        assert gate.wait(GUARD_SECONDS)
        return bytes(first + body.read())

    with WsgiServer(reading(read)) as server:
        client = server.client()
        client.send("/", "content-length: 10\r\n", "POST", b"first\n")
        assert got.wait(GUARD_SECONDS)
        client.send_raw(b"last")
        gate.set()
        assert client.receive().text == "first\nlast"


def test_a_body_that_nobody_reads_is_not_taken_in() -> None:
    """The client can send what we and the kernel buffer, and no more, until the app reads on."""
    entered, gate = threading.Event(), threading.Event()
    size = 64 * 1024 * 1024

    def read(body: Any) -> int:
        body.read(1)
        entered.set()
        assert gate.wait(GUARD_SECONDS)
        count = 1
        while piece := body.read(1024 * 1024):
            count += len(piece)
        return count

    with WsgiServer(reading(read), max_body=size) as server:
        client = server.client()
        client.send("/", f"content-length: {size}\r\n", "POST", b"x")
        assert entered.wait(GUARD_SECONDS)
        sent = [1]

        def send() -> None:
            while sent[0] < size:
                piece = b"x" * min(AHEAD_BYTES, size - sent[0])
                client.send_raw(piece)
                sent[0] += len(piece)

        sender = threading.Thread(target=send)
        sender.start()
        server.wait_paused()
        assert sent[0] < size // 2
        gate.set()
        sender.join()
        assert client.receive().text == str(size)


def test_an_app_may_leave_a_body_unread() -> None:
    with WsgiServer(reading(lambda body: body.read(2))) as server:
        client = server.client()
        assert client.post("/", b"0123456789").text == "01"
        assert client.post("/", b"abc").text == "ab"  # the rest of the first is not taken for a request


def test_an_answer_without_reading_tells_nobody_to_continue() -> None:
    with WsgiServer(reading(lambda body: b"unread")) as server:
        client = server.client()
        client.send("/", "content-length: 3\r\nexpect: 100-continue\r\n", "POST")
        reply = client.receive()
        assert (reply.status, reply.text) == (200, "unread")
        assert "connection: close" in reply.head


# -- broken bodies


def test_a_body_declared_too_large_never_reaches_the_app() -> None:
    reached: list[int] = []
    with WsgiServer(reading(lambda body: reached.append(1)), max_body=5) as server:
        assert server.post(b"12345").status == 200
        assert server.post(b"123456").status == 413
    assert reached == [1]


def swallowing(answer: str) -> tuple[Callable[..., list[bytes]], list[BaseException]]:
    """An app that meets an OSError while it reads, and answers as a framework does."""
    raised: list[BaseException] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        try:
            environ["wsgi.input"].read()
        except OSError as error:
            raised.append(error)
            if not answer:
                raise
        start_response(answer or "200 OK", [])
        return [b"the app's"]

    return app, raised


@pytest.mark.parametrize(("answer", "status"), [("", 413), ("400 Bad", 413), ("500 Bad", 413), ("422 Mine", 422)])
def test_chunks_beyond_the_limit_are_413(answer: str, status: int, caplog: pytest.LogCaptureFixture) -> None:
    app, raised = swallowing(answer)
    with WsgiServer(app, max_body=5) as server:
        client = server.client()
        client.send("/", CHUNKED + "expect: 100-continue\r\n", "POST")
        client.receive_until(b"HTTP/1.1 100 Continue\r\n\r\n")  # the app reads
        client.send_raw(b"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n")
        assert client.receive().status == status
    (error,) = raised
    assert isinstance(error, BodyError)
    assert isinstance(error, RequestError)
    assert error.status == 413
    assert not caplog.records


def test_a_broken_chunk_is_400() -> None:
    app, raised = swallowing("")
    with WsgiServer(app) as server:
        client = server.client()
        client.send("/", CHUNKED, "POST", b"3\r\nabc\r\nzz\r\n")
        assert client.receive().status == 400
    assert isinstance(raised[0], BodyError)


def test_a_stalled_body_is_408() -> None:
    app, raised = swallowing("")
    with WsgiServer(app, body_seconds=0.05) as server:
        client = server.client()
        client.send("/", "content-length: 10\r\n", "POST", b"0123")
        assert client.receive().status == 408
    assert isinstance(raised[0], BodyError)
    assert raised[0].status == 408


@pytest.mark.parametrize("answer", ["", "400 Bad Request"])
def test_a_client_that_leaves_within_its_body_is_told_to_the_app(answer: str, caplog: pytest.LogCaptureFixture) -> None:
    entered, done = threading.Event(), threading.Event()
    inner, raised = swallowing(answer)

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        entered.set()
        try:
            return iter(inner(environ, start_response))
        finally:
            done.set()

    with WsgiServer(app) as server:
        client = server.client()
        client.send("/", "content-length: 10\r\n", "POST", b"0123")
        assert entered.wait(GUARD_SECONDS)
        client.reset()
        assert done.wait(GUARD_SECONDS)
    assert isinstance(raised[0], Disconnected)
    assert isinstance(raised[0], ConnectionError)
    assert not caplog.records


def test_what_reads_on_after_the_answer_is_told_that_it_is_over() -> None:
    told: list[BaseException] = []
    done = threading.Event()

    class Late:
        def __init__(self, body: Any) -> None:
            self.body = body

        def __iter__(self) -> Iterator[bytes]:
            yield b"answered"

        def close(self) -> None:
            try:
                self.body.read()
            except OSError as error:
                told.append(error)
            done.set()

    def app(environ: dict[str, Any], start_response: Any) -> Late:
        start_response("200 OK", [("Content-Length", "8")])
        return Late(environ["wsgi.input"])

    with WsgiServer(app) as server:
        client = server.client()
        client.send("/", "content-length: 10\r\n", "POST", b"0")
        assert client.receive().text == "answered"
        assert done.wait(GUARD_SECONDS)
    assert isinstance(told[0], OSError)
