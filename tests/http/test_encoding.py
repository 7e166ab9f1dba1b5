"""Response heads as bytes."""

from http import HTTPStatus

import pytest

from prefork.errors import ResponseError
from prefork.http.encoding import (
    _KNOWN_LINES,
    KNOWN_LINE_BYTES,
    KNOWN_LINES,
    bodiless,
    common_lines,
    encode_fields,
    encode_line,
    status_line,
)


def test_status_lines_have_their_registered_phrase_or_one_that_says_it_has_none() -> None:
    assert status_line(200) == b"HTTP/1.1 200 OK\r\n"
    assert status_line(418) == f"HTTP/1.1 418 {HTTPStatus(418).phrase}\r\n".encode()
    assert status_line(599) == b"HTTP/1.1 599 Unknown\r\n"
    for status in (199, 600):
        with pytest.raises(ResponseError):
            status_line(status)


def test_fields_keep_their_order_their_case_and_their_repetitions() -> None:
    head = encode_fields([(b"Set-Cookie", b"a=1"), (b"X", b""), (b"Set-Cookie", b"b=2")])
    assert head.lines == b"Set-Cookie: a=1\r\nX: \r\nSet-Cookie: b=2\r\n"
    assert (head.declared_length, head.wants_close, head.replaces_ours) == (None, False, frozenset())


def test_what_fields_say_of_the_framing_is_read_and_not_copied() -> None:
    head = encode_fields([(b"Content-Length", b"12"), (b"CONNECTION", b"Close"), (b"Date", b"x"), (b"Server", b"y")])
    assert head.lines == b"Date: x\r\nServer: y\r\n"
    assert (head.declared_length, head.wants_close) == (12, True)
    assert head.replaces_ours == {b"date", b"server"}


@pytest.mark.parametrize("length", [1, KNOWN_LINE_BYTES, KNOWN_LINE_BYTES + 1, 100_000])
@pytest.mark.parametrize("byte", [b"\r", b"\n", b"\0"])
def test_forbidden_bytes_are_found_at_any_length_and_every_time(length: int, byte: bytes) -> None:
    for _ in range(2):
        with pytest.raises(ResponseError, match="holds CR, LF or NUL"):
            encode_fields([(b"X", b"x" * (length - 1) + byte)])


def test_lines_that_are_known_are_forgotten_before_they_are_too_many() -> None:
    for number in range(3 * KNOWN_LINES):
        encode_fields([(b"x-number", b"%d" % number), (b"x-long", b"x" * KNOWN_LINE_BYTES + b"%d" % number)])
    assert 0 < len(_KNOWN_LINES) <= KNOWN_LINES
    assert max(map(len, _KNOWN_LINES.values())) <= KNOWN_LINE_BYTES
    assert encode_fields([(b"x-number", b"1"), (b"x-number", b"2")]).lines == b"x-number: 1\r\nx-number: 2\r\n"


def test_an_error_names_the_field() -> None:
    with pytest.raises(ResponseError, match="header x-mine holds"):
        encode_line(b"x-mine", b"a\nb")
    with pytest.raises(ResponseError, match=r"b'x\\nmine' is not a token"):
        encode_line(b"x\nmine", b"a")


def test_bytes_beyond_ascii_may_stand_in_a_value() -> None:
    assert encode_line(b"x", "é".encode()) == "x: é\r\n".encode()


@pytest.mark.parametrize(
    ("method", "status", "expected"),
    [("GET", 200, False), ("HEAD", 200, True), ("GET", 204, True), ("POST", 304, True), ("GET", 205, False)],
)
def test_who_carries_no_body(method: str, status: int, expected: bool) -> None:
    assert bodiless(method, status) is expected


def test_the_date_is_written_as_http_wants_it() -> None:
    assert common_lines(True, 784111777) == b"server: prefork\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
    assert common_lines(False, 0, frozenset({b"date"})) == b""
