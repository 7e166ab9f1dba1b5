"""The response side, where no parser helps: what an app may write, and what never reaches the wire."""

from typing import Any

import pytest

from prefork.errors import Disconnected, RequestError, ResponseError
from prefork.http.exchange import Exchange
from tests.http.server import HERE, PEER, PLAIN, App, Client, Server, hello, request


def ask(app: App, method: str = "GET", version: str = "1.1", **settings: Any) -> Client:
    client = Server(app, **settings).connect()
    return client.send(request(method, version=version))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("status", [200, 204, 304, 404])
def test_a_whole_answer_has_a_body_only_where_it_may(method: str, status: int) -> None:
    async def app(exchange: Exchange) -> None:
        exchange.respond(status, PLAIN, b"hello")

    client = ask(app, method)
    reply = client.reply(method)
    bodiless = method == "HEAD" or status in (204, 304)
    assert reply.body == (b"" if bodiless else b"hello")
    assert reply.fields.get("content-length") == (None if status in (204, 304) else "5")
    assert not client.ended
    client.get()
    assert client.statuses(method) == [status, status]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("status", [200, 204, 304])
@pytest.mark.parametrize("length", [None, 5])
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_a_streamed_answer_has_a_body_only_where_it_may(
    method: str, status: int, length: int | None, version: str
) -> None:
    async def app(exchange: Exchange) -> None:
        exchange.start(status, PLAIN, length)
        await exchange.write(b"hel")
        await exchange.write(b"")
        await exchange.write(b"lo")
        exchange.finish()

    client = ask(app, method, version)
    reply = client.reply(method)
    bodiless = method == "HEAD" or status in (204, 304)
    assert reply.complete
    assert reply.body == (b"" if bodiless else b"hello")
    chunked = length is None and version == "1.1" and not bodiless
    assert reply.fields.get("transfer-encoding") == ("chunked" if chunked else None)
    assert reply.fields.get("content-length") == ("5" if length and status != 204 else None)
    assert client.ended is (version == "1.0")


def test_a_head_answer_may_declare_what_a_get_would_have_got() -> None:
    async def app(exchange: Exchange) -> None:
        exchange.respond(200, [(b"content-length", b"1000000")])

    assert ask(app, "HEAD").reply("HEAD").fields["content-length"] == "1000000"


@pytest.mark.parametrize("bad", [b"\r", b"\n", b"\0", b"a\r\nset-cookie: x", b"a\r\n\r\n<html>"])
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("where", ["name", "value", "long value"])
def test_a_field_that_would_break_the_head_open_is_never_sent(bad: bytes, streamed: bool, where: str) -> None:
    field = (b"x" + bad, b"v") if where == "name" else (b"x", (b"v" * 1000 if "long" in where else b"v") + bad)

    async def app(exchange: Exchange) -> None:
        with pytest.raises(ResponseError):
            (exchange.start if streamed else exchange.respond)(200, (field,))
        assert not exchange.started
        exchange.respond(500, PLAIN, b"sorry")

    client = ask(app)
    assert client.reply().status == 500
    assert b"set-cookie" not in client.received
    assert not client.ended


@pytest.mark.parametrize("name", [b"", b"a b", b"a:", b"a(b)", "é".encode()])
def test_a_field_name_that_is_no_token_is_never_sent(name: bytes) -> None:
    async def app(exchange: Exchange) -> None:
        with pytest.raises(ResponseError, match="is not a token"):
            exchange.respond(200, [(name, b"v")])
        exchange.respond(500, PLAIN)

    assert ask(app).statuses() == [500]


@pytest.mark.parametrize("status", [-1, 0, 99, 100, 101, 199, 600, 1000])
def test_a_status_that_is_no_final_answer_is_never_sent(status: int) -> None:
    async def app(exchange: Exchange) -> None:
        with pytest.raises(ResponseError, match="final response status"):
            exchange.respond(status, PLAIN)
        exchange.respond(500, PLAIN)

    assert ask(app).statuses() == [500]


@pytest.mark.parametrize("status", [200, 299, 418, 599])
def test_any_final_status_can_be_sent(status: int) -> None:
    async def app(exchange: Exchange) -> None:
        exchange.respond(status, PLAIN)

    assert ask(app).statuses() == [status]


@pytest.mark.parametrize("value", [b"4", b"6", b"five", b"-5", b""])
def test_a_declared_length_that_is_not_the_bodys_is_never_sent(value: bytes) -> None:
    async def app(exchange: Exchange) -> None:
        with pytest.raises(ResponseError):
            exchange.respond(200, [(b"content-length", value)], b"hello")
        exchange.respond(500, PLAIN)

    assert ask(app).statuses() == [500]


def test_a_streamed_body_shorter_than_declared_cuts_the_connection() -> None:
    async def app(exchange: Exchange) -> None:
        exchange.start(200, PLAIN, 5)
        await exchange.write(b"hell")
        with pytest.raises(ResponseError, match="1 bytes shorter"):
            exchange.finish()

    client = ask(app)
    assert client.transport.lost
    assert client.transport.reset
    assert not client.reply().complete


@pytest.mark.parametrize(("before", "last"), [(b"", b"hello!"), (b"hello", b"!")])
def test_a_streamed_body_longer_than_declared_is_not_sent_beyond_it(before: bytes, last: bytes) -> None:
    async def app(exchange: Exchange) -> None:
        exchange.start(200, PLAIN, 5)
        await exchange.write(before)
        with pytest.raises(ResponseError, match="1 bytes longer"):
            await exchange.write(last)
        exchange.abort()

    client = ask(app)
    assert client.transport.lost
    assert b"!" not in client.received


def test_the_framing_is_ours_whatever_an_app_says_of_it() -> None:
    async def app(exchange: Exchange) -> None:
        fields = [(b"Transfer-Encoding", b"gzip"), (b"Keep-Alive", b"timeout=1"), (b"Content-Length", b"5")]
        exchange.respond(200, fields, b"hello")

    fields = ask(app).reply().fields
    assert fields["content-length"] == "5"
    assert not {"transfer-encoding", "keep-alive", "connection"} & fields.keys()


def test_date_and_server_are_added_unless_the_app_has_its_own() -> None:
    async def app(exchange: Exchange) -> None:
        exchange.respond(200, ((b"Date", b"then"), (b"SERVER", b"mine")) if exchange.target == b"/own" else ())

    client = Server(app).connect()
    client.get("/own").get("/").get("/own")
    dates, servers = zip(*((reply.fields["date"], reply.fields["server"]) for reply in client.replies()), strict=True)
    assert servers == ("mine", "prefork", "mine")
    assert dates[0] == dates[2] == "then"
    assert dates[1].endswith(" GMT")


def test_the_server_field_can_be_switched_off() -> None:
    assert "server" not in ask(hello, server_header=False).reply().fields


@pytest.mark.parametrize("first", ["respond", "start"])
def test_a_second_answer_is_refused(first: str) -> None:
    async def app(exchange: Exchange) -> None:
        if first == "respond":
            exchange.respond(200, PLAIN, b"hello")
        else:
            exchange.start(200, PLAIN, 5)
        for again in (exchange.respond, exchange.start):
            with pytest.raises(ResponseError, match="already"):
                again(500, PLAIN)
        if first == "start":
            await exchange.write(b"hello")
            exchange.finish()
        exchange.finish()  # nothing more to do
        exchange.abort()
        exchange.fail(RequestError(400, "late"))

    client = ask(app)
    assert client.reply().body == b"hello"
    assert not client.ended


def test_a_body_before_its_head_is_refused() -> None:
    async def app(exchange: Exchange) -> None:
        with pytest.raises(ResponseError, match="not been started"):
            await exchange.write(b"hello")
        with pytest.raises(ResponseError, match="not been started"):
            exchange.finish()
        exchange.respond(200, PLAIN)

    assert ask(app).statuses() == [200]


def test_writing_behind_the_end_is_refused() -> None:
    async def app(exchange: Exchange) -> None:
        exchange.start(200, PLAIN)
        exchange.finish()
        with pytest.raises(Disconnected):
            await exchange.write(b"more")

    client = ask(app)
    client.get()
    assert [reply.body for reply in client.replies()] == [b"", b""]


@pytest.mark.parametrize("started", [False, True])
def test_an_answer_that_is_given_up_cuts_the_connection(started: bool) -> None:
    async def app(exchange: Exchange) -> None:
        if started:
            exchange.start(200, PLAIN)
            await exchange.write(b"half")
        exchange.abort()
        with pytest.raises(Disconnected):
            exchange.respond(200, PLAIN) if not started else await exchange.write(b"x")

    client = ask(app)
    assert client.transport.lost
    assert client.transport.reset
    assert client.server.cancelled == []
    assert [reply.complete for reply in client.replies()] == [False] * started


def test_what_is_known_of_a_request() -> None:
    found: dict[str, object] = {}

    async def app(exchange: Exchange) -> None:
        found.update({name: getattr(exchange, name) for name in ("method", "target", "fields", "http_minor", "scheme")})
        found.update({name: getattr(exchange, name) for name in ("content_length", "has_body", "client", "server")})
        await exchange.read()
        exchange.respond(200, PLAIN)
        assert (await exchange.read(), await exchange.read()) == (b"", b"")

    Server(app).connect().send(request("POST", "/a?b", "X-A: 1 ", "x-a:\t2", "Content-Length: 1", body=b"x"))
    assert found == {
        "method": "POST",
        "target": b"/a?b",
        "fields": [(b"host", b"a"), (b"x-a", b"1"), (b"x-a", b"2"), (b"content-length", b"1")],
        "http_minor": 1,
        "scheme": "http",
        "content_length": 1,
        "has_body": True,
        "client": PEER,
        "server": HERE,
    }


def test_a_client_on_a_unix_socket_has_no_address() -> None:
    found: list[object] = []

    async def app(exchange: Exchange) -> None:
        found.extend([exchange.client, exchange.server])
        exchange.respond(200, PLAIN)

    Server(app).connect(peername="", sockname="/run/prefork.sock").get()
    assert found == [None, None]


def test_the_authority_of_an_absolute_target_is_the_host() -> None:
    found: list[list[tuple[bytes, bytes]]] = []

    async def app(exchange: Exchange) -> None:
        found.append(exchange.fields)
        exchange.respond(200, PLAIN)

    client = Server(app).connect()
    client.get("http://right:81/x", "X: 1")
    client.send(request("GET", "http://right/", version="1.0").replace(b"Host: a\r\n", b""))
    assert [dict(fields)[b"host"] for fields in found] == [b"right:81", b"right"]
    assert [name for name, _ in found[0]].count(b"host") == 1


def test_an_exchange_shows_its_state() -> None:
    shown = []

    async def app(exchange: Exchange) -> None:
        shown.append(repr(exchange))
        exchange.start(200, PLAIN)
        shown.append(repr(exchange))
        exchange.finish()
        shown.append(repr(exchange))

    ask(app)
    assert shown == [f"<Exchange GET / {state}>" for state in ("waiting", "started 200", "finished")]
