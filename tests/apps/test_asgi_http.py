"""Messages of an ASGI app for HTTP: each does what the specification says, and nothing else is let through."""

import asyncio
import logging
from http import HTTPStatus
from pathlib import Path

import pytest

from prefork.errors import ResponseError
from prefork.web.asgi_types import Message, Receive, Scope, Send
from tests.apps.asgi_server import TEXT, AsgiApp, AsgiServer, Waiting, answering, body, echoing, start
from tests.http.server import Client, request

LENGTH_5 = [*TEXT, (b"content-length", b"5")]


def get(*messages: Message) -> Client:
    return AsgiServer(answering(*messages)).get()


# -- the response


def test_a_response_with_a_whole_body_has_a_length() -> None:
    reply = get(start(201), body(b"hello")).reply()
    assert (reply.status, reply.body) == (201, b"hello")
    assert reply.fields["content-length"] == "5"


def test_a_response_in_pieces_comes_in_chunks() -> None:
    client = get(start(), body(b"he", True), body(b"", True), body(b"llo"))
    assert client.received.endswith(b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n")


def test_a_response_in_pieces_with_a_length_comes_as_it_is() -> None:
    client = get(start(200, LENGTH_5), body(b"he", True), body(b"llo"))
    assert client.received.endswith(b"content-length: 5\r\n\r\nhello")


def test_defaults_are_those_of_the_specification() -> None:
    client = get({"type": "http.response.start", "status": 204}, {"type": "http.response.body"})
    assert client.reply().status == 204


def test_nothing_is_sent_before_the_first_piece_of_a_body() -> None:
    going = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await going.wait()
        await send(body(b"hello"))

    server = AsgiServer(app)
    client = server.get()
    assert client.received == b""
    going.set()
    server.run()
    assert client.reply().body == b"hello"


@pytest.mark.parametrize("data", [bytearray(b"hello"), memoryview(b"hello")])
def test_other_byte_strings_are_bytes_too(data: object) -> None:
    assert get(start(), body(data)).reply().body == b"hello"
    assert b"5\r\nhello" in get(start(), body(data, True), body()).received


def test_a_status_may_be_of_an_enum() -> None:
    assert get(start(HTTPStatus.CREATED), body()).received.startswith(b"HTTP/1.1 201 Created\r\n")


def test_headers_may_be_any_pairs() -> None:
    assert get(start(200, iter([[b"x-a", b"1"]])), body()).reply().fields["x-a"] == "1"


def test_a_head_request_gets_no_body() -> None:
    client = AsgiServer(answering(start(), body(b"hello"))).connect().send(request("HEAD", "/"))
    assert client.reply("HEAD").fields["content-length"] == "5"


def test_an_app_that_sends_no_body_to_a_head_request_has_not_said_how_long_it_is() -> None:
    client = AsgiServer(answering(start(), body(b""))).connect().send(request("HEAD", "/"))
    assert "content-length" not in client.reply("HEAD").fields


def test_an_old_client_gets_its_body_until_the_end() -> None:
    app = answering(start(), body(b"he", True), body(b"llo"))
    client = AsgiServer(app).connect().send(request("GET", "/", version="1.0"))
    assert client.received.endswith(b"connection: close\r\n\r\nhello")
    assert client.ended


def test_hints_come_before_the_response() -> None:
    client = get({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]}, start(), body(b"hi"))
    assert client.received.startswith(b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200")


def test_trailers_follow_the_body() -> None:
    client = get(
        start(200, TEXT, trailers=True),
        body(b"hello"),
        {"type": "http.response.trailers", "headers": [(b"x-sum", b"1")], "more_trailers": True},
        {"type": "http.response.trailers", "headers": [(b"x-end", b"2")]},
    )
    assert client.received.endswith(b"5\r\nhello\r\n0\r\nx-sum: 1\r\nx-end: 2\r\n\r\n")


# -- the request


def test_a_request_without_a_body_is_one_message() -> None:
    assert AsgiServer(echoing()).get().reply().body == b"[]"


def test_a_body_that_came_whole_is_one_message() -> None:
    client = AsgiServer(echoing()).connect()
    client.send(request("POST", "/", "Content-Length: 5", body=b"hello"))
    assert client.reply().body == b"[hello]"


def test_a_body_in_pieces_says_so() -> None:
    client = AsgiServer(echoing()).connect()
    client.send(request("POST", "/", "Content-Length: 10", body=b"hello"), b"world")
    assert client.reply().body == b"[hello][world]"


def test_a_chunked_body_ends_with_its_last_chunk() -> None:
    client = AsgiServer(echoing()).connect()
    client.send(request("POST", "/", "Transfer-Encoding: chunked", body=b"5\r\nhello\r\n"), b"0\r\n\r\n")
    assert client.reply().body == b"[hello][]"


@pytest.mark.parametrize(
    ("fields", "data", "status"),
    [
        (("Content-Length: 11",), b"", 413),
        (("Transfer-Encoding: chunked",), b"b\r\nhello world\r\n0\r\n\r\n", 413),
        (("Transfer-Encoding: chunked",), b"nonsense\r\n", 400),
    ],
)
def test_a_body_that_breaks_a_rule_is_answered_by_the_server(fields: tuple[str, ...], data: bytes, status: int) -> None:
    app = Waiting()
    client = AsgiServer(app, max_body=10).connect().send(request("POST", "/", *fields, body=data))
    assert client.statuses() == [status]
    assert app.received in (["http.disconnect"], [])  # the app is not asked when the head says it already


def test_the_app_may_answer_before_it_has_read_the_body() -> None:
    client = AsgiServer(answering(start(), body(b"no"))).connect()
    client.send(request("POST", "/", "Content-Length: 5", body=b"hel"), b"lo" + request("GET", "/"))
    assert client.statuses() == [200, 200]


# -- the end


def test_after_the_response_receive_tells_of_a_disconnect() -> None:
    app = Waiting()

    async def answer(send: Send) -> None:
        await send(start())
        await send(body(b"hello"))

    app.before = answer
    AsgiServer(app).get()
    assert app.received == ["http.disconnect"]


@pytest.mark.parametrize("how", ["vanish", "half_close"])
def test_a_client_that_leaves_is_told_of_and_then_the_task_is_cancelled(how: str) -> None:
    app = Waiting()
    server = AsgiServer(app, disconnect_grace_seconds=3.0)
    client = server.get()
    assert app.received == ["http.request"]
    getattr(client, how)()
    assert app.received == ["http.request", "http.disconnect"]
    server.advance(2.5)
    assert not app.cancelled
    server.advance(1)
    assert app.cancelled


def test_a_client_that_leaves_within_its_body_is_told_of() -> None:
    app = Waiting()
    client = AsgiServer(app).connect().send(request("POST", "/", "Content-Length: 5", body=b"hel"))
    client.vanish()
    assert app.received == ["http.request", "http.disconnect"]


def test_sending_to_a_client_that_is_gone_raises_an_oserror() -> None:
    raised: list[BaseException] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await receive()
        for message in (start(), body(b"late"), body(b"later")):
            try:
                await send(message)
            except OSError as error:
                raised.append(error)

    server = AsgiServer(app)
    server.get().vanish()
    assert len(raised) == 2  # the start of a response is only kept


def test_an_app_that_stops_once_its_client_is_gone_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await receive()

    AsgiServer(app).get().vanish()
    assert caplog.records == []


async def takes_a_stream(scope: Scope, receive: Receive, send: Send) -> None:
    """As frameworks do: what the server says of the client becomes an exception of their own."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise LookupError("ClientDisconnect")
        if not message["more_body"]:
            return


async def sends_a_stream(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    await send(start())
    try:
        await send(body(b"late", more=True))
    except OSError:
        raise LookupError("ClientDisconnect") from None


@pytest.mark.parametrize(
    ("app", "asked"),
    [(takes_a_stream, request("POST", "/", "Content-Length: 5", body=b"hel")), (sends_a_stream, request("GET", "/"))],
    ids=["reading", "sending"],
)
def test_what_an_app_raises_because_its_client_left_is_no_failure(
    app: AsgiApp, asked: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    AsgiServer(app).connect().send(asked).vanish()
    assert caplog.records == []


def test_what_an_app_does_when_its_body_broke_a_rule_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await takes_a_stream(scope, receive, send)
        except LookupError:
            await send(start(500))  # the server has answered already
            await send(body(b"no"))

    data = b"b\r\nhello world\r\n0\r\n\r\n"
    client = AsgiServer(app, max_body=10).connect()
    client.send(request("POST", "/", "Transfer-Encoding: chunked", body=data))
    assert client.statuses() == [413]
    assert caplog.records == []


# -- misuse


START_FIRST = "http.response.body was sent where http.response.start is expected"
MISUSE = [
    ((body(b"x"),), START_FIRST),
    ((start(), start()), "http.response.start was sent where http.response.body is expected"),
    (({"type": "http.response.trailers"},), "http.response.trailers was sent where http.response.start is expected"),
    (({"type": "websocket.accept"},), "websocket.accept was sent where http.response.start is expected"),
    (({**start(), "status": "200"}, body()), "http.response.start: status is an int, not str"),
    ((start(99), body()), "99 is not a final response status"),
    ((start(200, [("a", "b")]), body()), "http.response.body: a header's name is a byte string, not str"),
    ((start(200, [(b"a", b"1\r\nb: 2")]), body()), "response header a holds CR, LF or NUL"),
    ((start(200, [(b"a",)]), body()), "http.response.body: "),
    ((start(200, [(1, b"b")]), body()), "http.response.body: a header's name is a byte string, not int"),
    (({"status": 200},), "None was sent where http.response.start is expected"),
    ((start(True), body()), "1 is not a final response status"),
    ((start(), {"type": "http.response.zerocopysend", "file": 0, "count": -1}), "offset and count are not negative"),
    ((start(), {"type": "http.response.zerocopysend", "file": 0, "offset": -1}), "offset and count are not negative"),
    ((start(), body("text")), "http.response.body: body is a byte string, not str"),
    (({"type": "http.response.start"},), "http.response.start needs the key 'status'"),
    ((start(200, LENGTH_5), body(b"hi")), "content-length says 5, the body has 2 bytes"),
    ((start(200, LENGTH_5), body(b"hello!")), "content-length says 5, the body has 6 bytes"),
    ((), "returned without sending http.response.start"),
    ((start(),), "returned without sending http.response.body"),
]


@pytest.mark.parametrize(("messages", "rule"), MISUSE, ids=lambda value: value if isinstance(value, str) else "")
def test_misuse_before_the_head_is_a_500_and_names_the_rule(
    messages: tuple[Message, ...], rule: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = get(*messages)
    assert client.statuses() == [500]
    assert not client.ended, "the answer is whole, so the connection may go on"
    (record,) = caplog.records
    assert record.exc_info is not None
    assert rule in str(record.exc_info[1])


LATE_MISUSE = [
    ((start(), body(b"x", True), start()), "http.response.start was sent where http.response.body is expected"),
    ((start(), body(b"x", True), body("y")), "body is a byte string, not str"),
    ((start(200, LENGTH_5), body(b"hi", True), body(b"there")), "2 bytes longer than declared"),
    ((start(200, LENGTH_5), body(b"hi", True), body()), "3 bytes shorter than declared"),
    ((start(), body(b"x", True)), "returned without sending the last http.response.body"),
    ((start(200, TEXT, trailers=True), body(b"x")), "returned without sending the last http.response.trailers"),
    ((start(), body(b"x", True), {"type": "http.response.pathsend", "path": "/x"}), "within a body"),
]


@pytest.mark.parametrize(("messages", "rule"), LATE_MISUSE, ids=lambda value: value if isinstance(value, str) else "")
def test_misuse_within_the_body_cuts_the_connection(
    messages: tuple[Message, ...], rule: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = get(*messages)
    assert client.transport.reset or client.transport.lost
    assert not client.received.endswith(b"0\r\n\r\n")
    (record,) = caplog.records
    assert record.exc_info is not None
    assert rule in str(record.exc_info[1])


def test_what_is_sent_after_the_response_is_an_error_and_harms_nobody() -> None:
    raised: list[BaseException] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"hello"))
        try:
            await send(body(b"more"))
        except ResponseError as error:
            raised.append(error)

    client = AsgiServer(app).get().get()
    assert client.statuses("GET", "GET") == [200, 200]
    assert {str(error) for error in raised} == {"http.response.body was sent after the response was complete"}


def test_an_app_may_catch_its_misuse_and_answer_anew() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(200, LENGTH_5))
        with pytest.raises(ResponseError):
            await send(body(b"hi"))
        await send(start(503))
        await send(body(b"sorry"))

    assert AsgiServer(app).get().reply().body == b"sorry"


# -- exceptions


def raising(*messages: Message) -> AsgiApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)
        raise LookupError("the app's own")

    return app


def test_an_exception_before_the_head_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    reply = AsgiServer(raising(start())).get("/a?b").reply()
    assert (reply.status, reply.body) == (500, b"Internal Server Error\n")
    assert [record.getMessage().partition(" ")[2].partition(" ")[2] for record in caplog.records] == ["GET /a failed"]


def test_with_debug_the_client_sees_it() -> None:
    assert b"LookupError: the app's own" in AsgiServer(raising(), debug=True).get().reply().body


def test_an_exception_within_the_body_cuts_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    client = AsgiServer(raising(start(), body(b"x", True))).get()
    assert client.transport.lost
    assert "which is cut" in caplog.text


def test_an_exception_after_the_response_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    client = AsgiServer(raising(start(500), body(b"my own words"))).get()
    assert client.reply().body == b"my own words"
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


# -- files


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file.bin"
    path.write_bytes(bytes(range(256)) * 4)
    return path


def test_a_path_that_does_not_exist_raises_in_the_app(tmp_path: Path) -> None:
    raised: list[BaseException] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        try:
            await send({"type": "http.response.pathsend", "path": str(tmp_path / "none")})
        except FileNotFoundError as error:
            raised.append(error)
        await send(body(b"none"))

    asyncio.run(_serve(app))
    assert len(raised) == 1


async def _serve(app: AsgiApp) -> None:
    """Threads need a real loop; the exchange is the fake one."""
    from prefork.apps.asgi_http import HttpCycle
    from tests.web.fake_exchange import FakeExchange

    cycle = HttpCycle(FakeExchange(), {})  # type: ignore[arg-type]  # all that is asked of it here
    await app({}, cycle.receive, cycle.send)
