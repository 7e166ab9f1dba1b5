"""The examples do what they say."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from prefork.apps.application import Application
from prefork.apps.load import load
from prefork.http.exchange import Exchange
from prefork.settings import Settings
from tests.web.fake_exchange import FakeExchange, Pairs

EXAMPLES = Path(__file__).parents[2] / "examples"


class Site:
    """An example app with one loop for all requests of a test."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self.runner = asyncio.Runner()
        self.runner.run(application.startup())

    def ask(self, method: str, path: str, headers: Pairs = (), body: bytes = b"") -> FakeExchange:
        exchange = FakeExchange(method, path, headers, body)
        self.runner.run(self.application(cast(Exchange, exchange)))
        return exchange

    def close(self) -> None:
        self.runner.run(self.application.shutdown())
        self.runner.close()


@pytest.fixture
def path_kept() -> Iterator[None]:
    path = list(sys.path)
    yield
    sys.path[:] = path


@pytest.fixture
def hello(path_kept: None) -> Iterator[Site]:
    site = Site(load("hello:app", Settings(app_dir=str(EXAMPLES))))
    yield site
    site.close()


@pytest.fixture
def guestbook(path_kept: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("GUESTBOOK_FOLDER", str(tmp_path))
    sys.modules.pop("guestbook", None)  # it reads its folder when imported
    site = Site(load("guestbook:app", Settings(app_dir=str(EXAMPLES))))
    yield site
    site.close()


def test_hello_says_hello(hello: Site) -> None:
    exchange = hello.ask("GET", "/")
    assert (exchange.status, exchange.text) == (200, "Hello, world!")
    assert exchange.headers["content-type"] == "text/plain; charset=utf-8"


def test_hello_is_also_found_from_the_folder_above(path_kept: None) -> None:
    load("examples.hello:app", Settings(app_dir=str(EXAMPLES.parent)))


def test_hello_routes(hello: Site) -> None:
    assert hello.ask("GET", "/hello/Ann%20B").text == "Hello, Ann B!"
    assert hello.ask("GET", "/add/2/3").text == '{"a":2,"b":3,"sum":5}'
    assert hello.ask("POST", "/echo", body=b"[1, 2]").text == "[1,2]"
    assert hello.ask("GET", "/primes/5").text == "[2,3,5,7,11]"
    assert hello.ask("GET", "/home").headers["location"] == "/"


def test_hello_clock_ticks_until_the_client_leaves(hello: Site) -> None:
    async def first_tick() -> str:
        ticked = asyncio.Event()
        exchange = FakeExchange(target="/clock", on_write=lambda _: ticked.set())
        task = asyncio.ensure_future(hello.application(cast(Exchange, exchange)))
        await ticked.wait()
        task.cancel()  # as the http layer does
        await asyncio.wait([task])
        return exchange.text

    assert hello.runner.run(first_tick()).startswith("event: tick\ndata: 20")


def form(name: str, message: str, picture: bytes = b"", content_type: str = "image/png") -> tuple[Pairs, bytes]:
    head = 'Content-Disposition: form-data; name="picture"; filename="../p"'
    body = (
        f'--cut\r\nContent-Disposition: form-data; name="name"\r\n\r\n{name}\r\n'
        f'--cut\r\nContent-Disposition: form-data; name="message"\r\n\r\n{message}\r\n'
        f"--cut\r\n{head}\r\nContent-Type: {content_type}\r\n\r\n"
    )
    return [("Content-Type", "multipart/form-data; boundary=cut")], body.encode() + picture + b"\r\n--cut--\r\n"


def test_guestbook_keeps_what_is_signed_and_remembers_the_name(guestbook: Site) -> None:
    exchange = guestbook.ask("POST", "/entries", *form("Ann É", "<b>hi</b>", b"picture"))
    assert (exchange.status, exchange.headers["location"]) == (303, "/entries/1")
    cookie = exchange.headers["set-cookie"].partition(";")[0]
    assert cookie == "name=Ann%20%C3%89"

    index = guestbook.ask("GET", "/", [("Cookie", cookie)]).text
    assert 'value="Ann É"' in index
    assert "&lt;b&gt;hi&lt;/b&gt;" in index
    picture = index.partition('src="')[2].partition('"')[0]
    shown = guestbook.ask("GET", picture)
    assert (shown.body, shown.headers["content-type"]) == (b"picture", "image/png")
    assert shown.headers["x-content-type-options"] == "nosniff"
    assert "Ann É" in guestbook.ask("GET", "/entries/1").text


def test_guestbook_refuses_what_it_cannot_keep(guestbook: Site) -> None:
    assert guestbook.ask("POST", "/entries", *form("", "x")).status == 422
    assert guestbook.ask("POST", "/entries", *form("a", "x", b"p", "text/html")).status == 415
    assert guestbook.ask("POST", "/entries", body=b"x" * 6_000_000).status == 413
    assert guestbook.ask("GET", "/pictures/book.sqlite3").status == 404
    assert guestbook.ask("GET", "/pictures/..%2Fp.png").status == 404
    assert "no such entry" in guestbook.ask("GET", "/entries/99").text
    assert "nothing here" in guestbook.ask("GET", "/none").text


def test_guestbook_forgets_a_name(guestbook: Site) -> None:
    assert "Max-Age=0" in guestbook.ask("POST", "/forget").headers["set-cookie"]


def test_guestbook_api(guestbook: Site) -> None:
    exchange = guestbook.ask("POST", "/api/entries", body=b'{"name": "Ann", "message": "hi"}')
    assert (exchange.status, exchange.headers["location"]) == (201, "/api/entries/1")
    assert guestbook.ask("GET", "/api/entries/1").text.startswith('{"id":1,"name":"Ann","message":"hi"')
    assert guestbook.ask("GET", "/api/entries").text.startswith('[{"id":1')
    assert guestbook.ask("POST", "/api/entries", body=b'{"name": "Ann"}').status == 422
    assert guestbook.ask("POST", "/api/entries", body=b"{").status == 400
    assert guestbook.ask("GET", "/api/entries/99").text == '{"error":"no such entry"}'
