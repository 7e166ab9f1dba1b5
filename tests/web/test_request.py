"""What a request tells, and when it is read."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from prefork.errors import RequestError
from prefork.web import HTTPError, Request
from tests.web.fake_exchange import FakeExchange, Pairs, ask


def request(
    target: str = "/", headers: Pairs = (), body: bytes | list[bytes | Exception] = b"", method: str = "GET"
) -> Request:
    return Request(FakeExchange(method, target, headers, body))


def test_head_of_a_request() -> None:
    it = request("/a%20b/%E2%82%AC?x=%20", [("Host", "h")], method="PUT")
    assert (it.method, it.target, it.path) == ("PUT", "/a%20b/%E2%82%AC?x=%20", "/a b/€")
    assert (it.scheme, it.client, it.mount_path, it.path_params) == ("http", ("192.0.2.1", 50000), "", {})
    assert repr(it) == "<Request PUT /a b/€>"


def test_query_keeps_every_value_and_blank_ones() -> None:
    query = request("/?a=1&b=&a=2&c&d=%26+%C3%A9?&x;y=1").query
    assert query["a"] == "1"
    assert query.get_all("a") == ["1", "2"]
    assert (query["b"], query["c"], query["d"], query["x;y"]) == ("", "", "& é?", "1")
    assert query.get("none") is None
    assert query.get_all("none") == []
    assert query.pairs()[:3] == [("a", "1"), ("a", "2"), ("b", "")]
    with pytest.raises(KeyError):
        query["none"]


@pytest.mark.parametrize(("count", "refused"), [(1000, False), (1001, True)])
def test_query_has_at_most_a_thousand_parameters(count: int, refused: bool) -> None:
    it = request("/?" + "&".join(["a=1"] * count))
    if refused:
        with pytest.raises(HTTPError, match="400"):
            it.query  # noqa: B018
    else:
        assert len(it.query.get_all("a")) == count


def test_headers_have_no_case_and_keep_every_field() -> None:
    headers = request(headers=[("Accept", "a"), ("X-Thing", "caf\xe9"), ("ACCEPT", "b")]).headers
    assert headers["aCCept"] == "a"
    assert headers.get_all("accept") == ["a", "b"]
    assert headers["x-thing"] == "café"
    assert "X-THING" in headers
    assert "nöne" not in headers
    assert list(headers) == ["accept", "x-thing"]
    assert len(headers) == 2
    assert headers.pairs() == [("accept", "a"), ("x-thing", "café"), ("accept", "b")]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (["a=1; b=2"], {"a": "1", "b": "2"}),
        (["a=1", "b=2"], {"a": "1", "b": "2"}),
        (["a=first; a=second"], {"a": "first"}),
        (['a="quoted"; b=x=y; c='], {"a": "quoted", "b": "x=y", "c": ""}),
        (["nothing; ;=; a=1"], {"": "", "a": "1"}),
        ([], {}),
    ],
)
def test_cookies(fields: list[str], expected: dict[str, str]) -> None:
    assert request(headers=[("Cookie", field) for field in fields]).cookies == expected


@pytest.mark.parametrize("sent", ["a", "A-1_b.c", "x" * 128])
def test_good_request_id_is_kept(sent: str) -> None:
    assert request(headers=[("X-Request-Id", sent)]).id == sent


@pytest.mark.parametrize("sent", ["", "x" * 129, "a b", "a\n", 'a"', "é"])
def test_bad_request_id_is_replaced_by_a_random_one(sent: str) -> None:
    it = request(headers=[("X-Request-Id", sent)])
    assert re.fullmatch("[0-9a-f]{16}", it.id)
    assert it.id == it.id
    assert it.id != request().id


def test_parsed_things_are_kept() -> None:
    it = request("/?a=1")
    assert it.query is it.query
    assert it.headers is it.headers
    assert it.cookies is it.cookies
    it.state.user = "ann"
    assert it.state.user == "ann"


def test_plain_handler_has_no_app() -> None:
    with pytest.raises(RuntimeError, match="no App"):
        request().app  # noqa: B018


def read(handler: Callable[[Request], Any], body: Any, headers: Pairs = ()) -> FakeExchange:
    return ask(handler, "POST", "/", headers, body)


def test_body_is_joined_and_can_be_read_again() -> None:
    async def handler(request: Request) -> Any:
        first = await request.body()
        return [first.decode(), await request.text(), [piece.decode() async for piece in request.stream()]]

    assert read(handler, [b"ab", b"cd"]).text == '["abcd","abcd",["abcd"]]'


def test_stream_gives_pieces_as_they_come_and_only_once() -> None:
    async def handler(request: Request) -> Any:
        pieces = [piece.decode() async for piece in request.stream()]
        with pytest.raises(RuntimeError, match="streamed before"):
            await request.body()
        return pieces

    assert read(handler, [b"ab", b"cd"]).text == '["ab","cd"]'


def test_text_follows_the_charset() -> None:
    async def handler(request: Request) -> str:
        return await request.text()

    assert read(handler, "é".encode()).text == "é"
    assert read(handler, b"\xe9", [("Content-Type", 'text/plain; Charset="latin-1"')]).text == "é"
    assert read(handler, b"\xff").text == "the body is not utf-8\n"
    assert read(handler, b"x", [("Content-Type", "text/plain; charset=klingon")]).status == 400


class Point(msgspec.Struct):
    x: int


@dataclass
class Line:
    points: list[Point]


def test_json_is_decoded_whatever_the_content_type() -> None:
    async def handler(request: Request) -> Any:
        return await request.json()

    assert read(handler, b' {"a": [1, "\\u00e9"]} ').text == '{"a":[1,"é"]}'


@pytest.mark.parametrize("body", [b"", b"{", b"[1,]", b"nul", b'"\xff"', b"[" * 3000, b"[1e999]"])
def test_malformed_json_is_400(body: bytes) -> None:
    async def handler(request: Request) -> Any:
        return await request.json()

    exchange = read(handler, body)
    assert exchange.status == 400
    assert exchange.text.count("\n") == 1


def test_json_of_a_type_is_validated() -> None:
    async def handler(request: Request) -> int:
        line = await request.json(type=Line)
        assert isinstance(line, Line)
        return line.points[0].x

    assert read(handler, b'{"points": [{"x": 5}]}').text == "5"
    wrong = read(handler, b'{"points": [{"x": "5"}]}')
    assert (wrong.status, wrong.text) == (422, "Expected `int`, got `str` - at `$.points[0].x`\n")
    assert read(handler, b'{"points"').status == 400


def test_error_in_the_body_fails_the_exchange() -> None:
    async def handler(request: Request) -> Any:
        return await request.json()

    exchange = read(handler, [b"[", RequestError(408, "the body is late")])
    assert exchange.failed is not None
    assert exchange.failed.status == 408


def test_plain_def_handler_waits_for_the_loop_from_its_thread() -> None:
    def handler(request: Request) -> Any:
        return request.wait(request.json(type=Point))

    assert read(handler, b'{"x": 1}').text == '{"x":1}'
    assert read(handler, b"{}").status == 422


def test_waiting_on_the_loop_itself_is_refused() -> None:
    async def main() -> None:
        it = request()
        with pytest.raises(RuntimeError, match="use await"):
            it.wait(it.body())

    asyncio.run(main())
