"""What a client may send, and what it gets for the rest (RFC 6455, 5 and 7): the groups of the Autobahn test suite."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.http.websocket import (
    BINARY,
    CLOSE,
    CONT,
    FINAL,
    PING,
    PONG,
    TEXT,
    Frame,
    Peer,
    Sockets,
    close,
    echo,
    frame,
    text,
)

LIMIT = 1 << 17


def talk(*pieces: bytes) -> Peer:
    """A client of an echo after it has sent these, each in a read of its own."""
    return Sockets(echo, websocket_max_message=LIMIT).open().send(*pieces)


# -- 1: framing


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 128, 65535, 65536, LIMIT])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_message_of_any_size_comes_back(opcode: int, size: int) -> None:
    data = b"*" * size
    assert talk(frame(opcode, data)).frames == [Frame(FINAL | opcode, data)]


def test_a_length_may_take_more_bytes_than_it_needs() -> None:
    head = bytes([FINAL | TEXT, 0x80 | 127]) + struct.pack("!Q", 2)
    assert talk(head + bytes(4) + b"hi").texts == ["hi"]


def test_a_message_larger_than_the_limit_is_1009_before_it_is_here() -> None:
    head = frame(BINARY, bytes(LIMIT + 1))[:10]
    assert talk(head).closed == (1009, f"the message is longer than {LIMIT} bytes")


def test_fragments_count_together() -> None:
    half = bytes(LIMIT // 2)
    assert talk(frame(BINARY, half, final=False), frame(CONT, half)).frames == [Frame(FINAL | BINARY, half + half)]
    peer = talk(frame(BINARY, half, final=False), frame(CONT, half, final=False), frame(CONT, b"x"))
    assert peer.closed == (1009, f"the message is longer than {LIMIT} bytes")


# -- 2: pings


@pytest.mark.parametrize("payload", [b"", b"hello", bytes(range(125))])
def test_a_ping_is_answered_with_what_it_carries(payload: bytes) -> None:
    assert talk(frame(PING, payload)).frames == [Frame(FINAL | PONG, payload)]


def test_each_of_many_pings_is_answered_in_one_write() -> None:
    peer = talk(b"".join(frame(PING, b"%d" % number) for number in range(10)))
    assert peer.frames == [Frame(FINAL | PONG, b"%d" % number) for number in range(10)]
    assert len(peer.transport.writes) == 2, "the handshake and the pongs"


def test_a_pong_nobody_asked_for_is_ignored() -> None:
    assert talk(frame(PONG, b"?"), text("a")).texts == ["a"]


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_a_control_frame_longer_than_125_bytes_is_1002(opcode: int) -> None:
    assert talk(frame(opcode, bytes(126))).closed == (1002, "a control frame is longer than 125 bytes")


# -- 3, 4: reserved bits and opcodes


@pytest.mark.parametrize("rsv", range(1, 8))
@pytest.mark.parametrize("opcode", [TEXT, BINARY, CONT, PING, CLOSE])
def test_reserved_bits_are_1002(opcode: int, rsv: int) -> None:
    peer = talk(text("a"), frame(opcode, b"", rsv=rsv), text("b"))
    assert peer.closed == (1002, "a reserved bit is set")
    assert peer.texts == ["a"]


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
def test_an_unknown_opcode_is_1002(opcode: int) -> None:
    assert talk(frame(opcode)).closed == (1002, f"{opcode:#x} is no opcode")


def test_a_frame_without_a_mask_is_1002() -> None:
    assert talk(frame(TEXT, b"hi", mask=None)).closed == (1002, "a client's frames must be masked")


# -- 5: fragmentation


def test_fragments_make_one_message_and_control_frames_may_stand_between_them() -> None:
    peer = talk(
        frame(TEXT, b"a", final=False), frame(PING, b"p"), frame(CONT, b"b", final=False), frame(CONT, b""), text("c")
    )
    assert peer.frames == [Frame(FINAL | PONG, b"p"), Frame(FINAL | TEXT, b"ab"), Frame(FINAL | TEXT, b"c")]


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_a_fragmented_control_frame_is_1002(opcode: int) -> None:
    assert talk(frame(opcode, final=False)).closed == (1002, "a control frame must not be fragmented")


def test_a_continuation_of_nothing_is_1002() -> None:
    assert talk(frame(CONT, b"x")).closed == (1002, "a continuation of nothing")
    assert talk(frame(TEXT, b"a", final=False), frame(CONT, b"b"), frame(CONT, b"c")).closed == (
        1002,
        "a continuation of nothing",
    )


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_message_within_a_message_is_1002(opcode: int) -> None:
    assert talk(frame(TEXT, b"a", final=False), frame(opcode, b"b")).closed == (1002, "a message began within another")


def test_empty_fragments_without_end_hold_no_memory() -> None:
    server = Sockets(echo)
    peer = server.open().send(frame(TEXT, b"a", final=False))
    peer.send(frame(CONT, b"", final=False) * 10_000)
    (socket,) = server.sockets
    assert len(socket._reader._parts) == 1
    assert peer.send(frame(CONT, b"b")).texts == ["ab"]


# -- 6: UTF-8


def test_text_is_checked_over_the_seams_of_fragments() -> None:
    word = "κόσμε\U0001f600".encode()
    pieces = [frame(TEXT if at == 0 else CONT, word[at : at + 1], final=False) for at in range(len(word))]
    assert talk(*pieces, frame(CONT)).texts == ["κόσμε\U0001f600"]


@pytest.mark.parametrize(
    "data",
    [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xce", b"ok\xf0\x9f\x98", b"\x80"],
    ids=lambda data: data.hex(),
)
def test_text_that_is_not_utf_8_is_1007(data: bytes) -> None:
    wrong = (1007, "a text message is not UTF-8")
    assert talk(frame(TEXT, data)).closed == wrong
    assert talk(text("x" * 200), frame(TEXT, b"x" * 200 + data)).closed == wrong
    assert talk(frame(TEXT, b"a", final=False), frame(CONT, data)).closed == wrong


def test_text_that_cannot_become_utf_8_is_refused_before_its_message_is_whole() -> None:
    assert talk(frame(TEXT, b"a\xff", final=False)).closed == (1007, "a text message is not UTF-8")


def test_binary_may_hold_anything() -> None:
    assert talk(frame(BINARY, b"\xff\xfe")).frames == [Frame(FINAL | BINARY, b"\xff\xfe")]


# -- 7: closing


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999])
def test_a_close_frame_is_answered_with_its_code_and_the_app_is_told(code: int) -> None:
    server = Sockets(echo)
    peer = server.open().send(text("last"), close(code, "bye"))
    assert peer.texts == ["last"]
    assert peer.closed == (code, "bye")
    assert peer.client.ended
    assert not peer.transport.reset
    assert server.ends == [(code, "bye")]


def test_a_close_frame_without_a_code_is_1005_for_the_app() -> None:
    server = Sockets(echo)
    assert server.open().send(close()).closed == (0, "")
    assert server.ends == [(1005, "")]


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
def test_a_code_that_may_not_be_sent_is_1002(code: int) -> None:
    found = talk(close(code)).closed
    assert found is not None
    assert found[0] == 1002


def test_a_close_frame_of_one_byte_is_1002_and_a_reason_that_is_not_utf_8_is_1007() -> None:
    assert talk(frame(CLOSE, b"\x03")).closed == (1002, "close frame too short")
    assert talk(frame(CLOSE, struct.pack("!H", 1000) + b"\xff")).closed == (1007, "a close reason is not UTF-8")


def test_what_follows_a_close_frame_is_not_looked_at() -> None:
    server = Sockets(echo)
    peer = server.open().send(close(1000) + text("late") + frame(PING))
    assert peer.frames == [Frame(FINAL | CLOSE, struct.pack("!H", 1000))]
    assert server.ends == [(1000, "")]


def test_who_broke_a_rule_can_read_why() -> None:
    """A close with unread input would be a reset, which can overtake what was written."""
    server = Sockets(echo)
    peer = server.open().send(frame(TEXT, b"x", mask=None), text("more"), text("and more"))
    assert peer.closed is not None
    assert peer.client.ended
    assert not peer.transport.reset
    assert server.ends == [peer.closed]
    peer.client.half_close()
    assert server.service.connections == set()


# -- all of it, cut anywhere


def conversation(draw: st.DrawFn) -> tuple[bytes, list[Frame]]:
    """What a client sends, and what an echo of it answers."""
    sent, answers = b"", []
    for _ in range(draw(st.integers(0, 5))):
        if draw(st.booleans()):
            payload = draw(st.binary(max_size=125))
            sent += frame(PING, payload)
            answers.append(Frame(FINAL | PONG, payload))
        opcode = draw(st.sampled_from([TEXT, BINARY]))
        size = draw(st.sampled_from([0, 3, 125, 126, 300]))
        data = draw(st.text(max_size=size).map(str.encode) if opcode == TEXT else st.binary(max_size=size))
        cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=3)))
        parts = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        mask = draw(st.binary(min_size=4, max_size=4))
        for at, part in enumerate(parts):
            sent += frame(CONT if at else opcode, part, final=at == len(parts) - 1, mask=mask)
        answers.append(Frame(FINAL | opcode, data))
    return sent, answers


@settings(max_examples=60, deadline=None)
@given(st.composite(conversation)(), st.data())
def test_the_answers_do_not_depend_on_how_the_network_cut_the_bytes(
    talked: tuple[bytes, list[Frame]], data: st.DataObject
) -> None:
    sent, answers = talked
    cuts = sorted(data.draw(st.sets(st.integers(0, len(sent)), max_size=8)))
    pieces = [sent[a:b] for a, b in zip([0, *cuts], [*cuts, len(sent)], strict=True) if a < b]
    whole, cut = talk(sent) if sent else talk(), talk(*pieces)
    assert [f for f in cut.frames if f.first != FINAL | PONG] == [f for f in answers if f.first != FINAL | PONG]
    assert sorted(whole.frames) == sorted(cut.frames) == sorted(answers)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=6))
def test_whatever_bytes_come_the_server_keeps_the_rules_and_the_app_hears_the_end(pieces: list[bytes]) -> None:
    server = Sockets(echo)
    peer = server.open().send(*pieces)
    assert all(first & 0x70 == 0 for first, _ in peer.frames)
    peer.client.vanish()
    assert len(server.ends) == 1
    assert server.service.connections == set()
