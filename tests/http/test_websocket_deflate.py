"""permessage-deflate (RFC 7692): what is offered and answered, and that no message costs more than its limit."""

import os
import tracemalloc
import zlib

import pytest

from prefork.http.websocket_writing import COMPRESSED_FROM, COMPRESSED_TO
from tests.http.websocket import (
    BINARY,
    CONT,
    FINAL,
    PING,
    PONG,
    TEXT,
    Frame,
    Peer,
    Reading,
    Sockets,
    close,
    echo,
    frame,
    text,
)

OFFER = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
RSV1 = 4
TAIL = b"\x00\x00\xff\xff"
LIMIT = 1 << 16


class Deflated:
    """A client that compresses, with the window the server asked for."""

    def __init__(self, bits: int = 12) -> None:
        self._deflate = zlib.compressobj(wbits=-bits)
        self._inflate = zlib.decompressobj(wbits=-12)

    def shrink(self, data: bytes) -> bytes:
        shrunk = self._deflate.compress(data) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        assert shrunk.endswith(TAIL)
        return shrunk[:-4]

    def message(self, data: bytes, opcode: int = BINARY) -> bytes:
        return frame(opcode, self.shrink(data), rsv=RSV1)

    def read(self, received: Frame) -> bytes:
        assert received.first & 0x40
        return self._inflate.decompress(received.payload + TAIL)


def opened(offer: str = OFFER, **settings: int | bool) -> tuple[Sockets, Peer]:
    server = Sockets(echo, **{"websocket_max_message": LIMIT, **settings})
    return server, server.open(offer)


def answer(offer: str, **settings: bool) -> str:
    """What a server says to an offer of extensions."""
    _, peer = opened(offer, **settings)
    return peer.head.decode().partition("sec-websocket-extensions: ")[2].partition("\r\n")[0]


@pytest.mark.parametrize(
    ("offer", "answered"),
    [
        ("permessage-deflate", "permessage-deflate; server_max_window_bits=12"),
        (
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
        ),
        (
            "permessage-deflate; server_max_window_bits=10; client_max_window_bits=9",
            "permessage-deflate; server_max_window_bits=10; client_max_window_bits=9",
        ),
        (
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=12",
        ),
        ("permessage-deflate; server_max_window_bits=99", ""),
        ("permessage-deflate; colour=red, permessage-deflate", "permessage-deflate; server_max_window_bits=12"),
        ("x-webkit-deflate-frame", ""),
    ],
)
def test_the_first_offer_that_can_be_met_is_answered(offer: str, answered: str) -> None:
    assert answer(f"Sec-WebSocket-Extensions: {offer}") == answered


def test_an_operator_can_forbid_it() -> None:
    assert answer(OFFER, websocket_compression=False) == ""


def test_compressed_messages_come_back_compressed_and_share_their_context() -> None:
    client = Deflated()
    _, peer = opened()
    data = os.urandom(1000)
    peer.send(client.message(data), client.message(data))
    first, second = peer.frames
    assert client.read(first) == data
    assert client.read(second) == data
    assert len(second.payload) < 100 < len(first.payload)


def test_short_and_very_long_messages_go_as_they_are() -> None:
    client = Deflated()
    _, peer = opened(websocket_max_message=2 * COMPRESSED_TO)
    sizes = (COMPRESSED_FROM - 1, COMPRESSED_FROM, COMPRESSED_TO, COMPRESSED_TO + 1)
    peer.send(*(client.message(b"a" * size) for size in sizes))
    assert [bool(first & 0x40) for first, _ in peer.frames] == [False, True, True, False]


def test_a_compressed_message_may_come_in_fragments_with_pings_between() -> None:
    shrunk = Deflated().shrink("größer".encode())
    _, peer = opened()
    peer.send(
        frame(TEXT, shrunk[:2], final=False, rsv=RSV1),
        frame(PING, b"p"),
        frame(CONT, shrunk[2:5], final=False),
        frame(CONT, shrunk[5:]),
    )
    assert peer.frames == [Frame(FINAL | PONG, b"p"), Frame(FINAL | TEXT, "größer".encode())]


def test_a_client_that_agreed_to_compress_need_not() -> None:
    client = Deflated()
    _, peer = opened()
    peer.send(text("plain"), client.message(b"x", TEXT), frame(TEXT, b"a", final=False), frame(CONT, b"b"))
    assert peer.texts == ["plain", "x", "ab"]


def test_without_context_takeover_each_message_stands_alone() -> None:
    _, peer = opened(
        "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover; server_no_context_takeover"
    )
    data = b"abc" * 100
    peer.send(Deflated().message(data), Deflated().message(data))
    assert [Deflated().read(one) for one in peer.frames] == [data, data]


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        ([frame(TEXT, b"\xff\xff\xff", rsv=RSV1)], (1002, "decompression failed")),
        ([frame(CONT, b"", rsv=RSV1)], (1002, "a reserved bit is set")),
        ([frame(PING, b"", rsv=RSV1)], (1002, "a reserved bit is set")),
        ([frame(TEXT, b"", rsv=6)], (1002, "a reserved bit is set")),
        ([Deflated().message(b"\xff" * 9, TEXT)], (1007, "a text message is not UTF-8")),
    ],
)
def test_what_breaks_a_rule_is_refused(pieces: list[bytes], said: tuple[int, str]) -> None:
    server, peer = opened()
    assert peer.send(*pieces).closed == said
    assert server.ends == [said]


def test_a_last_deflate_block_is_refused_rather_than_read_as_nothing() -> None:
    deflate = zlib.compressobj(wbits=-12)
    final = deflate.compress(b"hello") + deflate.flush(zlib.Z_FINISH) + b"\x00"
    _, peer = opened()
    assert peer.send(frame(TEXT, final, rsv=RSV1)).closed == (1002, "a deflate block with BFINAL is not supported")


# -- the limit counts what was compressed


def test_a_message_of_exactly_the_limit_passes_also_where_deflate_makes_it_longer() -> None:
    data = os.urandom(LIMIT)
    client = Deflated()
    shrunk = client.message(data)
    assert len(shrunk) > LIMIT
    _, peer = opened()
    (received,) = peer.send(shrunk).frames
    assert client.read(received) == data


def test_one_byte_more_is_1009() -> None:
    said = (1009, f"the message is longer than {LIMIT} bytes")
    assert opened()[1].send(Deflated().message(bytes(LIMIT + 1))).closed == said
    shrunk = Deflated().shrink(bytes(LIMIT + 1))
    half = len(shrunk) // 2
    pieces = frame(BINARY, shrunk[:half], final=False, rsv=RSV1), frame(CONT, shrunk[half:])
    assert opened()[1].send(*pieces).closed == said


def test_a_fragment_behind_a_full_message_is_no_way_around_the_limit() -> None:
    client = Deflated()
    first, bomb = client.shrink(bytes(LIMIT)) + TAIL, client.shrink(bytes(1 << 24))
    peer = opened()[1].send(frame(BINARY, first, final=False, rsv=RSV1), frame(CONT, bomb[:1000], final=False))
    assert peer.closed == (1009, f"the message is longer than {LIMIT} bytes")


def test_many_bombs_in_one_read_are_taken_apart_one_by_one() -> None:
    size = 1 << 24
    client = Deflated()
    bombs = b"".join(client.message(bytes(size)) for _ in range(12))
    assert len(bombs) < 256 * 1024, "one read"
    app = Reading()
    server = Sockets(app)
    peer = server.open(OFFER)
    tracemalloc.start()
    try:
        peer.send(bombs)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 2.5 * size  # zlib joins its output once
    app.take(server, 12)
    assert [len(message) for message in app.messages] == [size] * 12


def test_the_end_of_the_conversation_is_as_without_compression() -> None:
    server, peer = opened()
    assert peer.send(Deflated().message(b"a" * 200), close(1000, "x")).closed == (1000, "x")
    assert server.ends == [(1000, "x")]
