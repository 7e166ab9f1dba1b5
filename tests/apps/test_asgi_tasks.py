"""Several tasks of one ASGI request: each hears what it waits for, and none writes into what another writes."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from prefork.children.binding import request_task
from prefork.errors import ResponseError
from prefork.jobs import context
from prefork.web.asgi_types import Message, Receive, Scope, Send
from tests.apps.asgi_server import TEXT, AsgiServer, body, start
from tests.http.server import request
from tests.http.transport import Pipe

UPLOAD = request("POST", "/", "Content-Length: 10")
ZEROCOPY = "http.response.zerocopysend"


async def listen(receive: Receive, received: list[Message]) -> None:
    """As a task does that waits for the client to leave."""
    message: Message = {"type": ""}
    while message["type"] != "http.disconnect":
        message = await receive()
        received.append(message)


def test_children_of_tasks_within_a_request_belong_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Middleware such as Starlette's runs the endpoint in a task of its own."""
    monkeypatch.setattr(context, "tracking", True)
    whose: list[object] = []

    async def look() -> None:
        whose.append(request_task())

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        whose.append(asyncio.current_task())
        await asyncio.create_task(look())
        await send(start(200))
        await send(body(b""))

    AsgiServer(app).connect().send(request("GET", "/"))
    assert len(whose) == 2
    assert whose[0] is whose[1]


def test_several_may_receive_and_each_piece_comes_once() -> None:
    messages: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(listen(receive, messages))

    client = AsgiServer(app).connect().send(UPLOAD, b"hello", b"world")
    client.vanish()
    assert [message.get("body") for message in messages] == [b"hello", b"world", None, None, None]


@pytest.mark.parametrize("sent", [b"", b"hel"], ids=["nothing came", "some came"])
@pytest.mark.parametrize("length", [10, 1_000_000], ids=["the rest is drained", "the connection is closed"])
def test_who_waits_for_a_body_hears_that_the_app_has_answered_without_it(sent: bytes, length: int) -> None:
    received: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        listening = asyncio.create_task(listen(receive, received))
        await asyncio.sleep(0)  # it waits now
        await send(start(403))
        await send(body(b"no"))
        await listening

    client = AsgiServer(app).connect().send(request("POST", "/", f"Content-Length: {length}", body=sent))
    assert client.statuses() == [403]
    assert received[-1:] == [{"type": "http.disconnect"}]


def test_after_an_answer_without_the_body_there_is_no_more_of_it() -> None:
    received: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(403))
        await send(body(b"no"))
        received.append((await receive())["type"])

    AsgiServer(app).connect().send(UPLOAD + b"hel")
    assert received == ["http.disconnect"]


def test_an_error_after_an_answer_without_the_body_is_one_of_the_apps(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(403))
        await send(body(b"no"))
        await receive()
        raise LookupError("the app's own")

    AsgiServer(app).connect().send(UPLOAD + b"hel")
    assert "the app's own" in caplog.text


def test_who_listens_hears_that_misuse_has_cut_the_connection() -> None:
    received: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        listening = asyncio.create_task(listen(receive, received))
        await asyncio.sleep(0)
        await send(start(200, [*TEXT, (b"content-length", b"1")]))
        with pytest.raises(ResponseError):
            await send(body(b"longer", more=True))
        await send(body(b"1", more=True))
        with pytest.raises(ResponseError):
            await send(body(b"2"))
        await listening

    AsgiServer(app).get()
    assert [message["type"] for message in received] == ["http.request", "http.disconnect"]


# -- files


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


@pytest.fixture
def file(tmp_path: Path) -> Iterator[BinaryIO]:
    (tmp_path / "content").write_bytes(bytes(range(256)) * 4096)  # more than the pipe holds
    with open(tmp_path / "content", "rb", buffering=0) as file:
        yield file


def test_nothing_is_sent_within_a_file(file: BinaryIO, pipe: Pipe) -> None:
    raised: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        sending = asyncio.ensure_future(send({"type": ZEROCOPY, "file": file, "more_body": True}))
        await going.wait()
        try:
            await send(body(b"0\r\n\r\nHTTP/1.1 200 OK\r\n", more=True))
        except ResponseError as error:
            raised.append(str(error))
            sending.cancel()

    going = asyncio.Event()
    server = AsgiServer(app)
    client = server.connect(socket=pipe).get()
    assert server.loop.writers, "the file is on its way"
    going.set()
    server.run()
    assert raised == ["http.response.body was sent where the end of a file is expected"]
    assert client.transport.lost
    assert client.received.count(b"HTTP/1.1 200 OK\r\n") == 1


def test_a_file_that_was_cancelled_cuts_the_connection(file: BinaryIO, pipe: Pipe) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        sending = asyncio.ensure_future(send({"type": ZEROCOPY, "file": file, "more_body": True}))
        await going.wait()
        sending.cancel()
        await asyncio.wait([sending])
        await send(body(b"what follows"))

    going = asyncio.Event()
    server = AsgiServer(app)
    client = server.connect(socket=pipe).get()
    assert server.loop.writers, "the file is on its way"
    going.set()
    server.run()
    assert client.transport.lost
    assert b"what follows" not in client.received


def test_a_descriptor_that_is_no_file_is_the_apps_failure_and_not_the_clients(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send({"type": ZEROCOPY, "file": reader, "offset": 0, "count": 5})

    reader, writer = os.pipe()
    pipe = Pipe()
    try:
        client = AsgiServer(app).connect(socket=pipe).get()
    finally:
        pipe.close()
        os.close(reader)
        os.close(writer)
    assert client.transport.lost
    assert "Illegal seek" in caplog.text


def test_parts_of_a_file_without_an_offset_follow_each_other(file: BinaryIO, pipe: Pipe) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        for more in (True, False):
            await send({"type": ZEROCOPY, "file": file, "count": 3, "more_body": more})

    AsgiServer(app).connect(socket=pipe).get()
    assert pipe.read() == bytes(range(6))


def test_a_file_of_another_length_than_declared_is_a_500(file: BinaryIO, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(200, [(b"content-length", b"5")]))
        await send({"type": ZEROCOPY, "file": file, "count": 3})

    assert AsgiServer(app).get().statuses() == [500]
    assert "content-length says 5, the body has 3 bytes" in caplog.text
