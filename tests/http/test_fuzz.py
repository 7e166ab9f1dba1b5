"""Bytes nobody foresaw: whatever comes, however it is cut, gets the same answers and harms no one else."""

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from prefork.http.exchange import Exchange
from tests.http.server import PLAIN, Server, hello, read_all, request
from tests.http.test_wire import load

WIRE = [load(path)[0] for path in sorted((Path(__file__).parent / "wire").glob("*.json"))]
LIMITS: dict[str, Any] = {"max_target": 64, "max_headers": 8, "max_header_bytes": 256, "max_body": 64}
TELLING = [
    b"\r\n",
    b"\r",
    b"\n",
    b"\0",
    b" ",
    b"\t",
    b":",
    b"0\r\n\r\n",
    b"\r\n\r\n",
    b"Host: a\r\n",
    b"\xff",
    b"GET ",
    b";",
]

cuts = st.lists(st.integers(0, 400), max_size=6)


@st.composite
def good_requests(draw: st.DrawFn) -> bytes:
    body = draw(st.binary(max_size=20))
    kind = draw(st.sampled_from(["GET", "length", "chunks"]))
    if kind == "GET":
        return request("GET", draw(st.sampled_from(["/", "/x?y", "http://b/", "//"])))
    if kind == "length":
        return request("POST", "/", f"Content-Length: {len(body)}", body=body)
    at = draw(st.integers(0, len(body)))
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (body[:at], body[at:]) if piece)
    return request("POST", "/", "Transfer-Encoding: chunked", body=chunks + b"0\r\n\r\n")


@st.composite
def damaged_requests(draw: st.DrawFn) -> bytes:
    """Requests from the wire files, with something put in, taken out or repeated."""
    data = draw(st.sampled_from(WIRE))[:600]
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 8)))
        data = (
            data[:start]
            + draw(st.one_of(st.sampled_from(TELLING), st.just(data[start:end] * 2), st.binary(max_size=2)))
            + data[end:]
        )
    return data


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted({min(cut, len(data)) for cut in cuts} | {len(data)})
    return [piece for start, end in zip([0, *ends], ends, strict=False) if (piece := data[start:end])]


def outcome(data: list[bytes], half_close: bool) -> tuple[list[int], list[bytes], bool]:
    """Statuses, what the app has handled, and whether the server has closed. A bystander is served in any case."""
    handled: list[bytes] = []

    async def app(exchange: Exchange) -> None:
        handled.append(exchange.method.encode() + b" " + exchange.target + b" " + await read_all(exchange))
        exchange.respond(200, PLAIN)

    server = Server(app, **LIMITS)
    client = server.connect()
    client.send(*data)
    if half_close:
        client.half_close()
    methods = [line.split(b" ")[0].decode() for line in handled]
    found = [status for status in client.statuses(*methods) if status >= 200], handled[:], client.ended
    bystander = server.connect().get()
    assert bystander.statuses() == [200]
    client.vanish()
    assert server.flight.in_flight == {}
    return found


@given(st.lists(good_requests(), min_size=1, max_size=5).map(b"".join), cuts, st.booleans())
def test_good_requests_cut_anywhere_are_all_answered(data: bytes, cuts: list[int], half_close: bool) -> None:
    whole = outcome([data], half_close)
    assert set(whole[0]) == {200}
    assert len(whole[0]) == len(whole[1])
    assert outcome(pieces(data, cuts), half_close) == whole


@given(damaged_requests(), cuts, st.booleans())
def test_damaged_requests_cut_anywhere_have_the_same_outcome(data: bytes, cuts: list[int], half_close: bool) -> None:
    assert outcome(pieces(data, cuts), half_close) == outcome([data], half_close)


@given(damaged_requests())
def test_damaged_requests_cut_everywhere_have_the_same_outcome(data: bytes) -> None:
    assert outcome([data[at : at + 1] for at in range(len(data))], False) == outcome([data], False)


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=8), st.booleans())
def test_garbage_never_raises_and_harms_no_one_else(data: list[bytes], half_close: bool) -> None:
    statuses, handled, _ = outcome(data, half_close)
    assert set(statuses) <= {400, 414, 431, 505}
    assert handled == []


@given(st.lists(st.one_of(damaged_requests(), st.binary(min_size=1, max_size=100)), max_size=6))
def test_an_app_that_reads_nothing_is_as_safe(data: list[bytes]) -> None:
    server = Server(hello, **LIMITS)
    client = server.connect()
    client.send(*(piece for piece in data if piece))
    client.vanish()
    assert server.connect().get().statuses() == [200]
    assert server.flight.in_flight == {}
