"""A server of WebSockets is loaded only after it switched properly and sent a message back."""

from io import BytesIO

import pytest

from benchmarks.probe import ProbeError
from benchmarks.socket_probe import TEXT, check_accepted, masked_frame, read_frame

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # with its answer: the example of RFC 6455, 1.3
ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


def test_a_proper_switch_passes_and_leaves_the_first_message() -> None:
    stream = BytesIO(ACCEPTED + b"\x81\x02hi")
    check_accepted(stream, KEY)
    assert read_frame(stream) == (TEXT, b"hi")


@pytest.mark.parametrize(
    ("right", "wrong", "named"),
    [
        (b"101 Switching", b"200 Switching", "answered 200"),
        (b"Upgrade: websocket", b"Upgrade: h2c", "answered 101"),
        (b"s3pP", b"S3pP", "instead of 's3pP"),
        (b"\r\n\r\n", b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n", "permessage-deflate"),
    ],
)
def test_any_other_switch_is_refused(right: bytes, wrong: bytes, named: str) -> None:
    with pytest.raises(ProbeError, match=named):
        check_accepted(BytesIO(ACCEPTED.replace(right, wrong)), KEY)


def test_a_client_masks_its_message() -> None:
    frame = masked_frame(TEXT, b"Hello, world!")
    head, mask, hidden = frame[:2], frame[2:6], frame[6:]
    assert head == b"\x81\x8d"
    assert bytes(byte ^ mask[place % 4] for place, byte in enumerate(hidden)) == b"Hello, world!"


@pytest.mark.parametrize("frame", [b"\x01\x02hi", b"\x81\x82maskhi", b"\x81\x7e\x00\x80"])
def test_a_message_in_parts_masked_or_long_is_refused(frame: bytes) -> None:
    with pytest.raises(ProbeError):
        read_frame(BytesIO(frame))


def test_a_connection_that_ends_within_a_message_is_a_connection_error() -> None:
    with pytest.raises(ConnectionResetError):
        read_frame(BytesIO(b"\x81"))
