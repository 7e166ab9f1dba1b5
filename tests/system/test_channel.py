"""Messages and descriptors between two ends."""

import os
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.messages import (
    Accept,
    ActorClosed,
    ActorFailed,
    ActorGone,
    ActorReady,
    ActorSession,
    ActorUp,
    BeActor,
    Bequest,
    BootFailed,
    Changed,
    Complete,
    Describe,
    Described,
    Drain,
    EndActor,
    EndProcess,
    Estate,
    Fork,
    Forked,
    ForkProcess,
    HandBack,
    Heirlooms,
    Leave,
    LeaveActor,
    LogLevel,
    LookAgain,
    Message,
    MoldReady,
    NotForked,
    ProcessForked,
    ProcessGone,
    Ready,
    ReloadFailed,
    ReloadMended,
    ReopenLogs,
    Room,
    Share,
    Shared,
    TakeOver,
    Unable,
    WantActor,
    WantProcess,
    WantShared,
    decode,
    encode,
    shorten,
)
from prefork.system.channel import DESCRIPTORS, Channel, ChannelClosed

EVERY_MESSAGE: list[Message] = [
    MoldReady(),
    Fork(1, 2, 3, 4),
    ForkProcess(2, 1, "offloader", 5),
    Forked(1, 4242),
    NotForked(1, "resource temporarily unavailable"),
    BootFailed("Traceback\n  …\nValueError: “no”", usage=True),
    Ready(),
    Leave(),
    Room(),
    HandBack(1),
    WantProcess("offloader", 7),
    EndProcess("offloader", 7, grace=1.5),
    ProcessForked("offloader", 7, 4243),
    ProcessGone("offloader", 7, None, out_of_memory=True, reason="resource temporarily unavailable"),
    WantActor(3, "shop.Model", 2, shared=True, index=0),
    ActorReady(3),
    ActorFailed(3, "Traceback\n  …\nValueError: “no”"),
    ActorUp(3, process=17, seat=1, pid=4244),
    ActorGone(3, 17, 9, out_of_memory=True),
    EndActor(3, 17, grace=1.5, began=12.5),
    LeaveActor(3),
    ActorClosed(3),
    BeActor("shop.Model", index=None),
    ActorSession(1),
    WantShared("“counters”", 4096),
    Shared("“counters”", 4096, reason="No space left on device"),
    Drain(hand_back=True, seconds=2.5),
    Changed("a\udc80/shop.py", others=2),
    ReloadFailed("Traceback\n  …\nNameError: name “x” is not defined"),
    ReloadMended(),
    ReopenLogs(),
    LogLevel("debug"),
    Share(workers=3),
    LookAgain(),
    Describe(number=3),
    Described(number=3, left_out=1),
    Accept(),
    Estate(4245, generation=3, families=[2, 1], listeners=2, activated=False, workers=3),
    Heirlooms([{"number": 0, "bind": "unix:/tmp/“http”", "file": [1, 2, 3]}]),
    Complete([0, 1], idle=True),
    TakeOver(),
    Unable("no module named “shop”"),
    Bequest([0, 0, 1]),
]


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    ours, theirs = Channel.pair()
    yield ours, theirs
    ours.close()
    theirs.close()


def test_every_kind_of_message_arrives_as_it_was_sent(ends: tuple[Channel, Channel]) -> None:
    assert len(EVERY_MESSAGE) == len(Message.__args__)
    for message in EVERY_MESSAGE:
        assert ends[0].send(message)
    assert [(ends[1].receive() or (None,))[0] for _ in EVERY_MESSAGE] == EVERY_MESSAGE


def test_what_the_other_end_said_last_arrives_though_it_left_something_unread(ends: tuple[Channel, Channel]) -> None:
    ends[0].send(Ready())
    ends[1].send(BootFailed("no"))
    ends[1].close()
    assert ends[0].receive() == (BootFailed("no"), [])
    with pytest.raises(ChannelClosed):
        ends[0].receive()


def test_an_empty_channel_has_nothing_and_does_not_wait(ends: tuple[Channel, Channel]) -> None:
    assert ends[0].receive() is None


def test_the_receiver_owns_duplicates_of_the_descriptors(ends: tuple[Channel, Channel]) -> None:
    read, write = os.pipe()
    ends[0].send(Fork(1, 0, 1, 0), [read, write])
    os.close(read)
    os.close(write)
    received = ends[1].receive()
    assert received is not None
    theirs_read, theirs_write = received[1]
    os.write(theirs_write, b"through")
    assert os.read(theirs_read, 10) == b"through"
    assert not os.get_inheritable(theirs_read)
    os.close(theirs_read)
    os.close(theirs_write)


def test_the_descriptors_of_what_is_no_message_are_closed(ends: tuple[Channel, Channel]) -> None:
    read, write = os.pipe()
    with socket.socket(fileno=os.dup(ends[0].fileno())) as raw:
        socket.send_fds(raw, [b"nonsense"], [write])
    os.close(write)
    with pytest.raises(ValueError, match="not a prefork message"):
        ends[1].receive()
    assert os.read(read, 1) == b""  # nobody has the other end any more
    os.close(read)


def test_as_many_descriptors_as_promised_travel_in_one_message(ends: tuple[Channel, Channel]) -> None:
    assert ends[0].send(Fork(1, 0, 1, 0), [0] * DESCRIPTORS)
    received = ends[1].receive()
    assert received is not None
    assert len(received[1]) == DESCRIPTORS
    for descriptor in received[1]:
        os.close(descriptor)


def test_a_full_channel_says_so_and_works_again_once_it_is_read(ends: tuple[Channel, Channel]) -> None:
    sent = 0
    while ends[0].send(Room()):
        sent += 1
    for _ in range(sent):
        assert ends[1].receive() == (Room(), [])
    assert ends[0].send(Ready())
    assert ends[1].receive() == (Ready(), [])


def test_a_channel_whose_other_end_is_gone_raises_both_ways(ends: tuple[Channel, Channel]) -> None:
    ends[1].close()
    with pytest.raises(ChannelClosed):
        ends[0].send(Ready())
    with pytest.raises(ChannelClosed):
        ends[0].receive()


def test_what_was_sent_before_the_end_closed_is_still_read(ends: tuple[Channel, Channel]) -> None:
    ends[1].send(Leave())
    ends[1].close()
    assert ends[0].receive() == (Leave(), [])
    with pytest.raises(ChannelClosed):
        ends[0].receive()


@pytest.mark.parametrize("character", ["a", "é", "\0", "\U0001f40d", "\udc80"])
def test_a_traceback_of_any_length_and_script_fits_a_message(ends: tuple[Channel, Channel], character: str) -> None:
    message = BootFailed(shorten(character * 1_000_000 + "the end"))
    assert ends[0].send(message)
    assert ends[1].receive() == (message, [])
    assert message.traceback.endswith("the end")


def test_a_short_traceback_is_left_as_it_is() -> None:
    assert shorten("Traceback") == "Traceback"


@given(st.binary(max_size=60))
def test_what_is_no_message_of_ours_is_refused(wire: bytes) -> None:
    with pytest.raises(ValueError, match="not a prefork message"):
        decode(wire)


@pytest.mark.parametrize(
    "wire",
    [
        b'["Ready", {"extra": 1}]',
        b'["Ready", []]',
        b'["Fork", {"slot": 1}]',
        b'["os", {}]',
        b"[[], {}]",
        b"[1]",
        b"[" * 100_000,
        b'["Forked", {"serial": 7, "pid": "1"}]',
        b'["Forked", {"serial": 7, "pid": 0}]',  # kill(2): our own group
        b'["Forked", {"serial": 7, "pid": -1}]',  # kill(2): everybody
        b'["Forked", {"serial": 7, "pid": 4294967296}]',
        b'["HandBack", {"listener": 256}]',
        b'["WantShared", {"name": "a", "size": 9223372036854775808}]',
        b'["WantProcess", {"role": ["offloader"], "number": 1}]',
        b'["EndProcess", {"role": "offloader", "number": 1, "grace": "1"}]',
        b'["EndProcess", {"role": "offloader", "number": 1, "grace": NaN}]',
    ],
)
def test_a_message_with_other_fields_or_of_another_kind_is_refused(wire: bytes) -> None:
    """App code can write to its worker's channel; what it says must not stop the master, which may be root's."""
    with pytest.raises(ValueError, match="not a prefork message"):
        decode(wire)


def test_a_message_is_its_kind_and_its_fields() -> None:
    assert encode(Forked(7, 4242)) == b'["Forked", {"serial": 7, "pid": 4242}]'
