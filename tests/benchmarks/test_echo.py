"""The load of WebSocket messages counts echoes that are right, and is no measurement where one is not."""

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus

import pytest
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from benchmarks.echo import load, parse
from benchmarks.generator import LoadError, Report

Handler = Callable[[ServerConnection], None]
Refusal = Callable[[ServerConnection, Request], Response]

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: apt-get install gcc libc6-dev")


def test_a_report_is_read_whole() -> None:
    assert parse("messages 150000\nseconds 3.000000\np99_ms 1.42\n") == Report(150_000, 50_000.0, 1.42)


@pytest.mark.parametrize(
    "text", ["", "a wrong echo\n", "messages 1\nseconds 1.0\n", "messages 0\nseconds 0.000000\np99_ms 0.01\n"]
)
def test_anything_else_is_an_error_and_not_a_figure(text: str) -> None:
    with pytest.raises(LoadError, match="not a report"):
        parse(text)


@contextmanager
def serving(handler: Handler, process_request: Refusal | None = None) -> Iterator[int]:
    with serve(handler, "127.0.0.1", 0, compression=None, process_request=process_request) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.socket.getsockname()[1]
        server.shutdown()
        thread.join()


def nothing() -> None:
    """No core is wanted."""


@needs_compiler
def test_every_echo_of_a_real_server_is_counted() -> None:
    seen = []

    def echo(connection: ServerConnection) -> None:
        for message in connection:
            seen.append(message)
            connection.send(message)

    with serving(echo) as port:
        report = load(port, 1, 4, 64, nothing)
    assert report.requests == len(seen) > 4
    assert {len(message) for message in seen} == {64}
    assert len(set(seen)) == len(seen)
    assert report.problem() is None


def reverses(connection: ServerConnection) -> None:
    connection.send(str(connection.recv())[::-1])


def answers_in_binary(connection: ServerConnection) -> None:
    connection.send(str(connection.recv()).encode())


def leaves(connection: ServerConnection) -> None:
    connection.recv()


@needs_compiler
@pytest.mark.parametrize(
    ("handler", "named"),
    [
        (reverses, "a wrong echo after 0 messages"),
        (answers_in_binary, "an unexpected frame: opcode byte 130"),
        (leaves, "a connection was closed after 0 messages"),
    ],
)
def test_a_server_that_does_not_echo_makes_the_run_invalid(handler: Handler, named: str) -> None:
    with serving(handler) as port, pytest.raises(LoadError, match=named):
        load(port, 1, 1, 64, nothing)


@needs_compiler
def test_a_server_that_does_not_switch_makes_the_run_invalid() -> None:
    def refuse(connection: ServerConnection, request: Request) -> Response:
        return connection.respond(HTTPStatus.FORBIDDEN, "no")

    with serving(leaves, refuse) as port, pytest.raises(LoadError, match=r"not accepted: HTTP/1\.1 403"):
        load(port, 1, 1, 64, nothing)


@needs_compiler
@pytest.mark.parametrize("message_bytes", [15, 126])
def test_messages_have_room_for_their_number_and_fit_a_short_frame(message_bytes: int) -> None:
    with pytest.raises(LoadError, match="usage"):
        load(1, 1, 1, message_bytes, nothing)
