"""The access log: one line a request, in either form, whatever a client puts into it."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.http.access import AccessLog
from prefork.http.exchange import Exchange
from tests.http.server import PLAIN, Client, Server, endless, hello, request

WHO: dict[str, object] = {"role": "worker", "slot": 1, "generation": 2, "pid": 3}
TEXT = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} worker 1 g2 \[3\] (\S+) "
    r'"((?:[^"\\]|\\.)*)" (\d{3}) (\d+) \d+\.\d+ms "((?:[^"\\]|\\.)*)" "((?:[^"\\]|\\.)*)"\n'
)


class Logged:
    """A server whose access log is kept."""

    def __init__(self, as_json: bool, app: Any = hello) -> None:
        self.lines: list[bytes] = []
        self.server = Server(app, AccessLog(self.lines.append, WHO if as_json else "worker 1 g2 [3]"))

    def connect(self, **extra: Any) -> Client:
        return self.server.connect(**extra)

    def text(self) -> tuple[str, ...]:
        (line,) = self.lines
        found = TEXT.fullmatch(line.decode("ascii"))
        assert found is not None, line
        return found.groups()

    def fields(self) -> dict[str, Any]:
        (line,) = self.lines
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1
        fields: dict[str, Any] = json.loads(line)
        return fields


def test_a_text_line_has_who_when_what_and_how_long() -> None:
    logged = Logged(as_json=False)
    logged.connect().get("/x?y", "User-Agent: curl/8", "Referer: http://a/")
    assert logged.text() == ("192.0.2.7:50000", "GET /x?y HTTP/1.1", "200", "5", "http://a/", "curl/8")


def test_a_json_line_has_the_same_as_fields() -> None:
    logged = Logged(as_json=True)
    logged.connect().get("/x?y", "User-Agent: curl/8")
    fields = logged.fields()
    assert fields.pop("time").endswith("Z")
    assert 0 <= fields.pop("seconds") < 60
    assert fields == {
        **WHO,
        "level": "info",
        "logger": "prefork.access",
        "client": "192.0.2.7:50000",
        "request": "GET /x?y HTTP/1.1",
        "status": 200,
        "bytes": 5,
        "referer": None,
        "user_agent": "curl/8",
    }


def test_a_client_on_a_unix_socket_is_a_dash() -> None:
    logged = Logged(as_json=False)
    logged.connect(peername="").get()
    assert logged.text()[0] == "-"


HOSTILE = ['"', "\\", '\\"', '" 200 0 0.1ms "-" "-"', '"}{"', "\xe9", "\x80", "\xa0", "\x85", "\t"]


@pytest.mark.parametrize("value", HOSTILE)
def test_what_a_client_sends_stays_within_its_quotes(value: str) -> None:
    logged = Logged(as_json=False)
    logged.connect().get("/", f"User-Agent: x{value}x")
    agent = logged.text()[-1]
    assert agent.encode("ascii").decode("unicode_escape") == f"x{value}x"


@given(st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0", exclude_categories=["Cc"]), min_size=1))
def test_any_field_value_is_one_line_that_reads_back(value: str) -> None:
    for as_json in (False, True):
        logged = Logged(as_json)
        logged.connect().get("/", f"User-Agent: {value}")
        if as_json:
            assert logged.fields()["user_agent"] == value.strip(" \t")
        else:
            logged.text()


def test_a_request_too_wrong_to_have_a_target_is_logged_with_its_status() -> None:
    logged = Logged(as_json=False)
    logged.connect().send(b"nonsense\r\n\r\n")
    assert logged.text()[1:4] == ("-", "400", "0")
    as_json = Logged(as_json=True)
    as_json.connect().send(b"nonsense\r\n\r\n")
    assert as_json.fields()["request"] is None


def test_a_refused_body_is_logged_once_with_its_request() -> None:
    async def app(exchange: Exchange) -> None:
        exchange.limit_body(1)

    logged = Logged(as_json=False, app=app)
    logged.connect().send(request("POST", "/x", "Content-Length: 5"))
    assert logged.text()[1:3] == ("POST /x HTTP/1.1", "413")


def test_a_streamed_answer_is_logged_at_its_end_with_what_was_sent() -> None:
    async def app(exchange: Exchange) -> None:
        exchange.start(200, PLAIN)
        await exchange.write(b"hello ")
        assert logged.lines == []
        await exchange.write(b"world")
        exchange.finish()

    logged = Logged(as_json=False, app=app)
    logged.connect().get()
    assert logged.text()[2:4] == ("200", "11")


def test_an_answer_without_a_body_has_no_bytes() -> None:
    logged = Logged(as_json=False)
    logged.connect().send(request("HEAD"))
    assert logged.text()[1:4] == ("HEAD / HTTP/1.1", "200", "0")


def test_a_request_that_was_never_answered_has_no_line() -> None:
    logged = Logged(as_json=False, app=endless)
    logged.connect().get().vanish()
    assert logged.lines == []
