"""Heads that are read by themselves: targets, hosts, limits, and what is known before a head is whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.errors import RequestError
from prefork.http.head import METHOD_BYTES, HeadParser, Limits, RequestHead, refusal, valid_host
from tests.http.server import request

LIMITS = Limits(target=64, fields=4, field_bytes=256)


def parse(raw: bytes, limits: Limits = LIMITS) -> RequestHead:
    head = RequestHead()
    HeadParser(limits).parse(raw, head)
    return head


def status(raw: bytes) -> int:
    with pytest.raises(RequestError) as caught:
        parse(raw)
    assert "\n" not in caught.value.reason
    return caught.value.status


@pytest.mark.parametrize(
    ("target", "path", "host"),
    [
        ("/a?b", b"/a?b", b"a"),
        ("//evil/x", b"//evil/x", b"a"),
        ("/http://x", b"/http://x", b"a"),
        ("http://b/x?y", b"/x?y", b"b"),
        ("HTTPS://b:81/", b"/", b"b:81"),
        ("http://b", b"/", b"b"),
        ("http://b?y", b"/?y", b"b"),
        ("http://[::1]:80/x", b"/x", b"[::1]:80"),
        ("http://b//x", b"//x", b"b"),
    ],
)
def test_a_target_becomes_a_path_and_its_authority_the_host(target: str, path: bytes, host: bytes) -> None:
    head = parse(request("GET", target))
    assert head.target == path
    assert head.values(b"host") == [host]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "M-SEARCH"])
def test_registered_methods_are_passed_on(method: str) -> None:
    assert parse(request(method)).method == method


def test_fields_keep_their_order_and_lose_outer_white_space() -> None:
    head = parse(request("GET", "/", "X-B: \t b c \t", "x-a:", "X-B:d"))
    assert head.fields == [(b"host", b"a"), (b"x-b", b"b c"), (b"x-a", b""), (b"x-b", b"d")]
    assert head.values(b"x-b") == [b"b c", b"d"]
    assert head.values(b"x-c") == []


@pytest.mark.parametrize(
    "host", [b"", b"a", b"a.b:80", b"127.0.0.1", b"[::1]", b"[::1]:8000", b"a-b_c~d", b"x%20y", b"a:"]
)
def test_good_hosts(host: bytes) -> None:
    assert valid_host(host)


@pytest.mark.parametrize(
    "host", [b"a b", b"a, b", b"u@a", b"a/b", b"a:x", b"a:123456", b"::1", b"[::1", b"[x]", b"a\\b", b"a#", b"\xe9"]
)
def test_bad_hosts(host: bytes) -> None:
    assert not valid_host(host)
    assert status(request("GET").replace(b"Host: a", b"Host: " + host)) == 400


def test_one_bad_head_does_not_spoil_the_parser_for_the_next() -> None:
    parser = HeadParser(LIMITS)
    strange = [
        b"GET / HTTP/1.1\r\nHost: a\r\nX : 1\r\n\r\n",
        b"FOO / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
        request("GET", "/", "Connection: upgrade", "Upgrade: x"),
        request("POST", "/", "Transfer-Encoding: chunked"),
        request("POST", "/", "Content-Length: 5"),
        request("GET", "/", "Connection: close"),
        request("GET", "/", "proxy-CONNECTION: close"),
        request("GET", version="1.0"),
        request("GET", "*"),
    ]
    for raw in strange:
        try:
            parser.parse(raw, RequestHead())
        except RequestError:
            pass
        head = RequestHead()
        parser.parse(request("GET", "/next"), head)
        assert (head.target, head.keep_alive, head.content_length) == (b"/next", True, None)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"GET /" + b"x" * LIMITS.target, 414),
        (b"X" * (METHOD_BYTES + 1), 400),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * LIMITS.field_bytes, 431),
        (b"GET / HTTP/1.1\r\nA: \0", 400),
        (b"GET / HTTP/2.0\r\n", 505),
        (b"GET /\r\n", 505),
        (b"GET / HTTP/1.1\n", 400),
        (b"\x16\x03\x01", 400),
        (b"GET / " + b"x" * 100, 400),
    ],
)
def test_a_head_that_cannot_become_good_is_refused_before_it_is_whole(raw: bytes, expected: int) -> None:
    refused = refusal(raw, LIMITS)
    assert refused is not None
    assert refused.status == expected


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /" + b"x" * (LIMITS.target - 1),
        b"X" * METHOD_BYTES,
        b"GET / HTTP/1.1\r",
        b"GET / HTTP/1.1\r\nA: " + b"x" * (LIMITS.field_bytes - 3),
        b"G",
    ],
)
def test_a_head_that_may_still_become_good_is_waited_for(raw: bytes) -> None:
    assert refusal(raw, LIMITS) is None


@given(
    st.sampled_from(["/", "/x?y", "http://b/x", "*"]), st.lists(st.sampled_from(["A: 1", "B:", "C: x y"]), max_size=3)
)
def test_no_beginning_of_a_good_head_is_refused(target: str, fields: list[str]) -> None:
    raw = request("OPTIONS", target, *fields)
    parse(raw)
    assert [refusal(raw[:end], LIMITS) for end in range(1, len(raw) + 1)] == [None] * len(raw)
