"""The PROXY protocol: only what the specification knows is a header, and not a byte beyond it is taken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.http.proxy_protocol import V1_BYTES, V2_BYTES, Addresses, ProxyError, crc32c, measure, parse

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V4 = bytes((192, 0, 2, 7, 10, 0, 0, 1)) + (50000).to_bytes(2, "big") + (443).to_bytes(2, "big")
V6 = bytes.fromhex("20010db8" + "00" * 11 + "07" + "20010db8" + "00" * 11 + "01") + V4[8:]
PARSED4 = Addresses(("192.0.2.7", 50000), ("10.0.0.1", 443))
PARSED6 = Addresses(("2001:db8::7", 50000), ("2001:db8::1", 443))


def v2(command: int = 0x21, family: int = 0x11, block: bytes = V4, length: int | None = None) -> bytes:
    return SIGNATURE + bytes((command, family)) + (len(block) if length is None else length).to_bytes(2, "big") + block


def tlv(kind: int, value: bytes) -> bytes:
    return bytes((kind,)) + len(value).to_bytes(2, "big") + value


def with_checksum(change: int = 0) -> bytes:
    blank = v2(block=V4 + tlv(0x01, b"h2") + tlv(0x03, bytes(4)))
    return blank[:-4] + (crc32c(blank) ^ change).to_bytes(4, "big")


def take(data: bytes) -> Addresses | None:
    """Read the header that `data` begins with."""
    size, complete = measure(data)
    assert complete
    return parse(data[:size])


GOOD = [
    (b"PROXY TCP4 192.0.2.7 10.0.0.1 50000 443\r\n", PARSED4),
    (b"PROXY TCP6 2001:db8::7 2001:DB8:0::1 50000 443\r\n", PARSED6),
    (
        b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 0\r\n",
        Addresses(("255.255.255.255", 65535), ("255.255.255.255", 0)),
    ),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535 and more\r\n", None),
    (v2(), PARSED4),
    (v2(family=0x21, block=V6), PARSED6),
    (v2(block=V4 + tlv(0xEA, b"vpce") + tlv(0x04, b"")), PARSED4),
    (with_checksum(), PARSED4),
    (v2(family=0x00, block=b""), None),
    (v2(family=0x31, block=bytes(216)), None),
    (v2(command=0x20, family=0x00, block=b""), None),
    (v2(command=0x20, family=0xFF, block=b"whatever"), None),
    (v2(block=V4 + tlv(0xE0, bytes(V2_BYTES - 16 - 12 - 3))), PARSED4),
]
BAD_LINES = [
    b"PROXY\r\n",
    b"PROXY TCP4\r\n",
    b"PROXY TCP4 192.0.2.7 10.0.0.1 50000\r\n",
    b"PROXY TCP4 192.0.2.7 10.0.0.1 50000 443 \r\n",
    b"PROXY  TCP4 192.0.2.7 10.0.0.1 50000 443\r\n",
    b"PROXY TCP4 192.0.2.7 10.0.0.1 65536 443\r\n",
    b"PROXY TCP4 192.0.2.7 10.0.0.1 -1 443\r\n",
    b"PROXY TCP4 192.0.2.7 10.0.0.1 050 443\r\n",
    b"PROXY TCP4 192.0.2.007 10.0.0.1 50000 443\r\n",
    b"PROXY TCP4 192.0.2 10.0.0.1 50000 443\r\n",
    b"PROXY TCP4 ::1 ::1 50000 443\r\n",
    b"PROXY TCP6 192.0.2.7 10.0.0.1 50000 443\r\n",
    b"PROXY TCP6 fe80::1%eth0 ::1 50000 443\r\n",
    b"PROXY UDP4 192.0.2.7 10.0.0.1 50000 443\r\n",
    b"PROXY TCP4 192.0.2.7 10.0.0.1 50000 443\n\r\n",
    b"PROXY TCP4 192.0.2.7 10.0.0.1 50000 443\x00\r\n",
    b"PROXY UNKNOWNS\r\n",
]
BAD = [
    *BAD_LINES,
    v2(command=0x11),
    v2(command=0x22),
    v2(family=0x12),
    v2(family=0x32, block=bytes(216)),
    v2(family=0x41),
    v2(block=V4[:-1]),
    v2(family=0x21),
    v2(family=0x31, block=bytes(215)),
    v2(block=V4 + b"\x01"),
    v2(block=V4 + b"\x01\x00"),
    v2(block=V4 + b"\x01\x00\x05abcd"),
    v2(block=V4 + tlv(0x03, bytes(3))),
    with_checksum(change=1),
]


@pytest.mark.parametrize(("header", "addresses"), GOOD)
def test_a_header_tells_whom_the_proxy_speaks_for(header: bytes, addresses: Addresses | None) -> None:
    assert measure(header + b"GET / HTTP/1.1\r\n\r\n") == (len(header), True)
    assert parse(header) == addresses


@pytest.mark.parametrize("header", BAD)
def test_what_the_specification_does_not_know_is_refused(header: bytes) -> None:
    with pytest.raises(ProxyError):
        take(header)


@pytest.mark.parametrize("header", [header for header, _ in GOOD])
def test_however_it_is_cut_each_byte_of_it_and_none_beyond_is_taken(header: bytes) -> None:
    following = b"\r\nPROXY "
    for cut in range(1, len(header)):
        assert measure(header[:cut]) == (cut, False)
    for more in range(len(following)):
        assert measure(header + following[:more]) == (len(header), True)


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n\r\n", b"PROXT", b" PROXY ", b"proxy TCP4", b"\r\n\r\n\x01", b"\x16\x03\x01", b"\r\nG"]
)
def test_what_begins_otherwise_is_refused_at_once(data: bytes) -> None:
    with pytest.raises(ProxyError, match="there is no PROXY header"):
        measure(data)


def test_a_line_may_have_107_bytes_and_no_more() -> None:
    longest = b"PROXY UNKNOWN " + b"x" * (V1_BYTES - len(b"PROXY UNKNOWN \r\n")) + b"\r\n"
    assert len(longest) == V1_BYTES
    assert measure(longest) == (V1_BYTES, True)
    assert measure(longest[:-1]) == (V1_BYTES - 1, False)
    for too_long in (longest[:-2] + b"x\r\n", longest[:-2] + b"xx"):
        with pytest.raises(ProxyError, match="longer than 107 bytes"):
            measure(too_long)


def test_a_binary_header_is_refused_for_its_length_before_it_has_come() -> None:
    head = v2(length=V2_BYTES - 16)
    assert measure(head) == (len(head), False)
    with pytest.raises(ProxyError, match="more than"):
        measure(v2(length=V2_BYTES - 15))


def test_the_checksum_is_castagnolis() -> None:
    assert crc32c(b"123456789") == 0xE3069283


@given(st.binary(max_size=300), st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11"]))
def test_whatever_comes_is_a_header_or_an_error(tail: bytes, start: bytes) -> None:
    data = start + tail
    if not data:
        return
    try:
        size, complete = measure(data)
        assert 0 < size <= len(data)
        assert complete or size == len(data)
        if complete:
            parse(data[:size])
    except ProxyError:
        pass


@given(st.binary(min_size=1, max_size=300))
def test_what_is_said_of_a_beginning_holds_for_the_whole(data: bytes) -> None:
    """A byte that was taken for one of the header never turns out to be none."""
    data = SIGNATURE + b"\x21\x11\x00\x0c" + data
    whole, _ = measure(data)
    for cut in range(1, len(data)):
        size, _ = measure(data[:cut])
        assert size <= whole
