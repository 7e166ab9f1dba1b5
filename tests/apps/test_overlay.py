"""Pages show why newer code cannot start; nothing else is touched, and nothing at all while all is well."""

import asyncio
from io import BytesIO
from typing import Any, cast

import pytest

from prefork.apps.asgi import AsgiApplication
from prefork.apps.overlay import OverlaidExchange, Overlay
from prefork.http.exchange import Exchange
from prefork.settings import Settings
from tests.apps.inner import Inner, Run
from tests.http.server import Server
from tests.http.transport import HIGH_WATER
from tests.web.fake_exchange import FakeExchange

TRACEBACK = "Traceback (most recent call last):\n  File shop.py\nNameError: <é> is not defined\n"
HTML = (b"content-type", b"text/html; charset=utf-8")
PAGE = b"<!doctype html><h1>Shop</h1>"
BROWSER = ("accept", "text/html,*/*;q=0.8")


def whole(*fields: tuple[bytes, bytes], status: int = 200, body: bytes = PAGE) -> Run:
    async def run(exchange: Exchange) -> None:
        exchange.respond(status, fields, body)

    return run


def pieces(*fields: tuple[bytes, bytes], length: int | None = None) -> Run:
    async def run(exchange: Exchange) -> None:
        exchange.start(200, fields, length)
        for at in range(0, len(PAGE), 10):
            await exchange.write(PAGE[at : at + 10])
        exchange.finish()

    return run


def overlaid(run: Run, traceback: str = TRACEBACK) -> Overlay:
    app = Overlay(Inner(run))
    app.show(traceback)
    return app


def ask(run: Run, *headers: tuple[str, str], method: str = "GET", traceback: str = TRACEBACK) -> FakeExchange:
    exchange = FakeExchange(method, headers=headers)
    asyncio.run(overlaid(run, traceback)(cast(Exchange, exchange)))
    assert exchange.finished
    return exchange


def assert_shown(body: bytes) -> None:
    assert body.startswith(PAGE)
    assert b"<h1>NameError: &lt;&#233;&gt; is not defined</h1>" in body
    assert body.count(b"<prefork-overlay>") == 1


@pytest.mark.parametrize("run", [whole(HTML), pieces(HTML), whole((b"Content-Type", b"Text/HTML"))])
def test_a_page_ends_with_the_traceback_and_names_it_in_a_field(run: Run) -> None:
    exchange = ask(run, BROWSER)
    assert_shown(exchange.body)
    assert exchange.headers["x-prefork-broken"] == "NameError: <?> is not defined"


def test_the_overlay_is_ascii_needs_no_script_and_loads_nothing() -> None:
    added = ask(whole(HTML), BROWSER).body.removeprefix(PAGE)
    assert added.isascii()
    for word in (b"<script", b"src=", b"href=", b"url(", b"@import", b"onclick"):
        assert word not in added


@pytest.mark.parametrize(
    "run",
    [
        whole((b"content-type", b"application/json")),
        whole((b"content-type", b"text/event-stream")),
        whole((b"content-type", b"application/xhtml+xml")),
        whole((b"content-type", b"text/htmlx")),
        whole(),
        whole(HTML, (b"content-encoding", b"gzip")),
        whole(HTML, (b"etag", b'"1"'), status=304, body=b""),
        whole(HTML, status=206),
        pieces((b"content-type", b"text/event-stream")),
    ],
)
def test_what_is_no_page_goes_out_as_it_is(run: Run) -> None:
    shown, plain = ask(run, BROWSER), ask(run, BROWSER, traceback="")
    assert (shown.body, shown.sent, shown.length) == (plain.body, plain.sent, plain.length)


@pytest.mark.parametrize(
    ("headers", "shown"),
    [
        ([("accept", "*/*")], False),
        ([], False),
        ([BROWSER, ("sec-fetch-dest", "empty")], False),
        ([BROWSER, ("sec-fetch-dest", "document")], True),
        ([("accept", "*/*"), ("sec-fetch-dest", "iframe")], True),
    ],
)
def test_html_that_a_script_fetches_goes_out_as_it_is(headers: list[tuple[str, str]], shown: bool) -> None:
    assert (b"<prefork-overlay>" in ask(whole(HTML), *headers).body) is shown


def test_head_is_answered_as_it_is() -> None:
    exchange = ask(whole(HTML, (b"content-length", b"7"), body=b""), BROWSER, method="HEAD")
    assert exchange.sent == (HTML, (b"content-length", b"7"))


def test_error_pages_show_it_too() -> None:
    assert_shown(ask(whole(HTML, status=500), BROWSER).body)


def test_no_cache_keeps_the_overlay() -> None:
    fields = [(b"ETag", b'"1"'), (b"last-modified", b"x"), (b"cache-control", b"max-age=60"), (b"vary", b"cookie")]
    exchange = ask(whole(HTML, *fields), BROWSER)
    assert exchange.headers["cache-control"] == "no-store"
    assert {name for name, _ in exchange.sent} == {b"content-type", b"vary", b"cache-control", b"x-prefork-broken"}


LENGTH = (b"content-length", b"%d" % len(PAGE))


@pytest.mark.parametrize(
    "run",
    [
        whole(HTML),
        whole(HTML, LENGTH),
        pieces(HTML),
        pieces(HTML, LENGTH),
        pieces(HTML, length=len(PAGE)),
    ],
    ids=["whole", "whole, declared", "chunked", "pieces, declared", "pieces, length"],
)
def test_over_the_wire_the_message_stays_whole(run: Run) -> None:
    client = Server(overlaid(run)).connect()
    for _ in range(2):  # the second answer is read right only if the first was framed right
        client.send(b"GET / HTTP/1.1\r\nhost: a\r\naccept: text/html\r\n\r\n")
    first, second = client.replies()
    assert first.status == second.status == 200
    assert_shown(first.body)
    assert first.body == second.body


def test_a_slow_client_gets_the_overlay_too() -> None:
    async def run(exchange: Exchange) -> None:
        exchange.start(200, (HTML,))
        await exchange.write(PAGE + b"x" * (HIGH_WATER - 1000))  # the overlay does not fit below the mark
        assert exchange.connection.writable
        exchange.finish()
        assert not exchange.connection.writable

    client = Server(overlaid(run)).connect()
    client.transport.slow = True
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\naccept: text/html\r\n\r\n")
    client.read(HIGH_WATER * 2)
    assert_shown(client.reply().body)


def test_a_body_shorter_than_declared_still_cuts_the_connection() -> None:
    async def run(exchange: Exchange) -> None:
        exchange.start(200, (HTML,), len(PAGE) + 1)
        await exchange.write(PAGE)
        with pytest.raises(Exception, match="1 bytes shorter than declared"):
            exchange.finish()

    server = Server(overlaid(run))
    client = server.connect()
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\naccept: text/html\r\n\r\n")
    assert client.transport.reset


def test_while_all_is_well_the_app_gets_the_exchange_itself() -> None:
    seen: list[object] = []

    async def run(exchange: Exchange) -> None:
        seen.append(exchange)
        exchange.respond(200, (HTML,), PAGE)

    app = overlaid(run)
    for traceback in (TRACEBACK, ""):
        app.show(traceback)
        exchange = FakeExchange(headers=[BROWSER])
        asyncio.run(app(cast(Exchange, exchange)))
    assert isinstance(seen[0], OverlaidExchange)
    assert seen[1] is exchange
    assert exchange.body == PAGE


def test_an_app_can_read_and_set_what_it_likes_on_the_exchange() -> None:
    async def run(exchange: Any) -> None:
        exchange.status_of_mine = 7
        exchange.respond(200, (HTML,), exchange.target)

    exchange = ask(run, BROWSER)
    assert exchange.body.startswith(b"/")
    assert vars(exchange)["status_of_mine"] == 7


@pytest.mark.parametrize("more", [False, True], ids=["whole", "pieces"])
@pytest.mark.parametrize("declared", [False, True])
def test_a_page_of_an_asgi_app_shows_it(more: bool, declared: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        fields = [list(HTML), *([list(LENGTH)] if declared else [])]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        if more:
            await send({"type": "http.response.body", "body": PAGE[:5], "more_body": True})
        await send({"type": "http.response.body", "body": PAGE[5:] if more else PAGE})

    asgi = Overlay(AsgiApplication(app, Settings(lifespan="off")))
    asgi.show(TRACEBACK)
    client = Server(asgi).connect()
    for _ in range(2):
        client.send(b"GET / HTTP/1.1\r\nhost: a\r\naccept: text/html\r\n\r\n")
    for reply in client.replies():
        assert_shown(reply.body)


def test_a_page_that_comes_from_a_file_shows_it() -> None:
    async def run(exchange: Exchange) -> None:
        exchange.start(200, (HTML,), len(PAGE))
        await exchange.send_file(BytesIO(PAGE), 0, len(PAGE))
        exchange.finish()

    exchange = ask(run, BROWSER)
    assert_shown(exchange.body)
    assert exchange.length == len(exchange.body)


def test_the_life_of_the_app_is_its_own() -> None:
    inner = Inner(whole())
    app = Overlay(inner)

    async def live() -> None:
        await app.startup()
        await app.shutdown()

    asyncio.run(live())
    app.offloader()
    assert inner.calls == ["startup", "shutdown", "offloader"]
