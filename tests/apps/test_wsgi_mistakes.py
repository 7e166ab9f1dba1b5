"""What a WSGI app's mistakes become: a log that names the rule, 500, or a cut connection."""

import logging
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from tests.apps.wsgi_apps import PLAIN, Body, Environ, StartResponse, answering
from tests.apps.wsgi_server import WsgiServer
from tests.processes.client import Lost
from tests.processes.patience import GUARD_SECONDS


def test_a_raising_app_is_500_and_logged_with_its_request(caplog: pytest.LogCaptureFixture) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        raise ValueError("the secret")

    with WsgiServer(app) as server:
        client = server.client()
        reply = client.get("/where?x=1", "x-request-id: id-7\r\n")
        assert (reply.status, reply.text) == (500, "Internal Server Error\n")
        assert client.get("/").status == 500  # the connection is kept
    assert caplog.records[0].getMessage() == "request id-7: GET /where failed"
    assert "ValueError: the secret" in caplog.text


def test_debug_shows_the_traceback() -> None:
    with WsgiServer(answering(lambda: 1 / 0), debug=True) as server:
        assert "ZeroDivisionError" in server.get().text


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), StopIteration()])
def test_an_app_cannot_end_its_worker(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/raise":
            raise error
        start_response("200 OK", PLAIN)
        return [b"well"]

    with WsgiServer(app) as server:
        assert server.get("/raise").status == 500
        assert server.get().text == "well"


def never_starts(environ: Environ, start_response: StartResponse) -> list[bytes]:
    return [b"x"]


def starts_twice(environ: Environ, start_response: StartResponse) -> list[bytes]:
    start_response("200 OK", PLAIN)
    start_response("200 OK", PLAIN)
    return [b"x"]


def writes_str(environ: Environ, start_response: StartResponse) -> list[bytes]:
    start_response("200 OK", PLAIN)("text")
    return []


MISTAKES: dict[str, tuple[Callable[..., Any], str]] = {
    "never": (never_starts, r"never_starts has not called start_response; PEP 3333"),
    "never-stream": (lambda environ, start_response: iter([b"x"]), "has not called start_response"),
    "never-nothing": (lambda environ, start_response: iter(()), "has not called start_response"),
    "twice": (starts_twice, "start_response was called again, without exc_info"),
    "str-list": (answering(["text"]), "yielded str; PEP 3333: the body is of bytes"),
    "str-many": (answering([b"a", "text"]), "yielded str"),
    "str-stream": (answering(lambda: iter(["text"])), "yielded str"),
    "str": (answering("text"), "yielded str"),
    "none": (answering(None), "returned NoneType; PEP 3333: an iterable of bytes"),
    "write": (writes_str, "write.. takes bytes, not str"),
    "longer": (answering([b"xx"], headers=[("Content-Length", "1")]), "declared Content-Length 1, .* 2 bytes"),
    "shorter": (answering([b"xx"], headers=[("Content-Length", "3")]), "declared Content-Length 3, .* 2 bytes"),
    "longer-stream": (
        answering(lambda: iter([b"xx"]), headers=[("Content-Length", "1")]),
        "1 bytes longer than its Content-Length, 1",
    ),
    "shorter-stream": (
        answering(lambda: iter([b""]), headers=[("Content-Length", "3")]),
        "3 bytes shorter than its Content-Length, 3",
    ),
    "status-bytes": (answering([b""], b"200 OK"), "the status is a str"),  # type: ignore[arg-type]
    "status-list": (answering([b""], ["200 OK"]), "the status is a str"),  # type: ignore[arg-type]
    "status-number": (answering([b""], 200), "the status is a str"),  # type: ignore[arg-type]
    "status-word": (answering([b""], "OK"), "three digits, a space and a reason"),
    "status-joined": (answering([b""], "200OK"), "three digits, a space and a reason"),
    "status-interim": (answering([b""], "100 Continue"), "100 is not a final response status"),
    "header-bytes": (answering([b""], headers=[(b"X", "x")]), "the name of header b'X' is a str, not bytes"),
    "header-number": (answering([b""], headers=[("X", 1)]), "list of .name, value. tuples|the value of header 'X'"),
    "header-lines": (answering([b""], headers=[("X", "a\r\nSet-Cookie: b")]), "header X holds CR, LF or NUL"),
    "header-name": (answering([b""], headers=[("X Y", "a")]), "is not a token"),
    "header-unicode": (answering([b""], headers=[("X", "\u20ac")]), "not in latin-1"),
    "header-shape": (answering([b""], headers=["Content-Type"]), r"a list of \(name, value\) tuples"),
    "header-none": (answering([b""], headers=None), r"a list of \(name, value\) tuples"),
    "length-word": (answering([b""], headers=[("Content-Length", "-1")]), "must be a number of bytes"),
    "length-twice": (
        answering([b"x"], headers=[("Content-Length", "1"), ("content-length", "2")]),
        "declared twice: 1 and 2",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_misuse_is_500_and_the_log_names_the_rule(mistake: str, caplog: pytest.LogCaptureFixture) -> None:
    app, said = MISTAKES[mistake]
    with WsgiServer(app) as server:
        assert server.get().status == 500
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert re.search(said, caplog.text), caplog.text


@pytest.mark.parametrize(
    ("rest", "headers", "said"),
    [
        ([b"xxx"], [("Content-Length", "4")], "1 bytes longer than its Content-Length, 4"),
        ([b"x"], [("Content-Length", "4")], "1 bytes shorter than its Content-Length, 4"),
        (["text"], PLAIN, "yielded str"),
        ([ValueError("late")], PLAIN, "ValueError: late"),
    ],
)
def test_once_the_head_is_sent_a_mistake_cuts_the_connection(
    rest: list[Any], headers: Any, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    gate = threading.Event()

    def pieces() -> Iterator[Any]:
        yield b"xx"
        assert gate.wait(GUARD_SECONDS)
        for piece in rest:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    body = Body(pieces())
    with WsgiServer(answering(body, headers=headers)) as server:
        client = server.asking()
        client.receive_until(b"xx")
        gate.set()
        with pytest.raises((Lost, ConnectionResetError)):
            client.receive_until(b"never")
        body.wait_closed_once()
    assert "failed within its response, which is cut" in caplog.text
    assert said in caplog.text


def test_exc_info_replaces_a_head_that_was_not_sent() -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", "1000"), ("X-A", "b")])
        try:
            raise ValueError
        except ValueError:
            start_response("503 Service Unavailable", PLAIN, sys.exc_info())
        return [b"sorry"]

    with WsgiServer(app) as server:
        reply = server.get()
    assert (reply.status, reply.text) == (503, "sorry")
    assert "X-A" not in reply.head


def test_exc_info_is_raised_when_the_head_was_sent(caplog: pytest.LogCaptureFixture) -> None:
    gate = threading.Event()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", PLAIN)(b"begun")
        assert gate.wait(GUARD_SECONDS)
        try:
            raise ValueError("the first")
        except ValueError:
            start_response("500 Oh", PLAIN, sys.exc_info())
        return [b"never"]

    with WsgiServer(app) as server:
        client = server.asking()
        client.receive_until(b"begun")
        gate.set()
        with pytest.raises((Lost, ConnectionResetError)):
            client.receive_until(b"never")
    assert "ValueError: the first" in caplog.text
