"""What a server sends over a WebSocket, as bytes: messages, pongs and close frames (RFC 6455, 5). No I/O."""

from struct import Struct
from typing import Final

from websockets.exceptions import ProtocolError
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Close, Frame, Opcode

from prefork.errors import ResponseError
from prefork.http.websocket_reading import BINARY, CLOSE, COMPRESSED, CONTROL_BYTES, FINAL, TEXT

# Bytes of messages that are compressed. Shorter ones save nothing worth the work: they fit a packet as they are. For
# longer ones the work, some 40 ms a MiB, would keep the event loop from everybody else.
COMPRESSED_FROM: Final = 128
COMPRESSED_TO: Final = 256 * 1024
REASON_BYTES: Final = CONTROL_BYTES - 2  # a close frame's code takes two

_HEAD_16 = Struct("!BBH")
_HEAD_64 = Struct("!BBQ")


def message_frame(message: str | bytes | bytearray | memoryview, deflate: PerMessageDeflate | None) -> bytes:
    """A message in one frame: str as text, bytes as binary. Raises TypeError for anything else."""
    if isinstance(message, str):
        first, data = FINAL | TEXT, message.encode()
    elif isinstance(message, bytes):
        first, data = FINAL | BINARY, message
    elif isinstance(message, bytearray | memoryview):
        first, data = FINAL | BINARY, bytes(message)
    else:
        raise TypeError(f"a message is str or bytes, not {type(message).__qualname__}")
    if deflate is not None and COMPRESSED_FROM <= len(data) <= COMPRESSED_TO:
        frame = deflate.encode(Frame(Opcode.TEXT if first & TEXT else Opcode.BINARY, data))
        return whole_frame(first | COMPRESSED, bytes(frame.data))
    return whole_frame(first, data)


def whole_frame(first: int, payload: bytes) -> bytes:
    """A frame by its first byte and its payload, which a server does not mask."""
    length = len(payload)
    if length <= CONTROL_BYTES:
        return bytes((first, length)) + payload
    if length < 1 << 16:
        return _HEAD_16.pack(first, CONTROL_BYTES + 1, length) + payload
    return _HEAD_64.pack(first, CONTROL_BYTES + 2, length) + payload


def close_frame(code: int, reason: str) -> bytes:
    """Raises ResponseError for a code or reason that cannot be sent (RFC 6455, 5.5 and 7.4)."""
    try:
        payload = Close(code, reason).serialize()
    except ProtocolError:
        raise ResponseError(
            f"{code} is no close code to send: use 1000 to 1003, 1007 to 1014 or 3000 to 4999 (RFC 6455, 7.4)"
        ) from None
    if len(payload) > CONTROL_BYTES:
        raise ResponseError(f"a close reason has at most {REASON_BYTES} bytes in UTF-8 (RFC 6455, 5.5)")
    return whole_frame(FINAL | CLOSE, payload)
