"""Open a WebSocket and see one message come back: the probe before a load of messages (RFC 6455)."""

import os
from base64 import b64encode
from hashlib import sha1
from typing import BinaryIO

from benchmarks.probe import ProbeError, connected, read_head

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
FINAL, MASKED = 0x80, 0x80  # first bits of the first and of the second byte
TEXT, CLOSE = 1, 8
PAYLOAD_BYTES = 125  # what the second byte can tell by itself; longer frames are no part of this load
NORMAL = (1000).to_bytes(2)  # close code


def handshake(key: bytes) -> bytes:
    """The request that opens a WebSocket on /. No extension is offered, as the load offers none."""
    return (
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: " + key + b"\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )


def check_accepted(stream: BinaryIO, key: bytes) -> None:
    """ProbeError unless the server switches, proves that it read the key, and adds no extension."""
    status, fields = read_head(stream)
    proof = b64encode(sha1(key + GUID).digest()).decode()
    if status != 101 or fields.get("upgrade", "").lower() != "websocket":
        raise ProbeError(f"answered {status} {fields} instead of 101 to websocket")
    if fields.get("sec-websocket-accept") != proof:
        raise ProbeError(f"accepted with {fields.get('sec-websocket-accept')!r} instead of {proof!r}")
    if "sec-websocket-extensions" in fields:
        raise ProbeError(f"uses an extension that was not offered: {fields['sec-websocket-extensions']}")


def masked_frame(opcode: int, payload: bytes) -> bytes:
    """A whole message of a client."""
    mask = os.urandom(4)
    hidden = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
    return bytes([FINAL | opcode, MASKED | len(payload)]) + mask + hidden


def read_frame(stream: BinaryIO) -> tuple[int, bytes]:
    """Opcode and payload of a server's short, whole message. ProbeError for any other, OSError at its end."""
    head = stream.read(2)
    if len(head) < 2:
        raise ConnectionResetError("closed within a message")
    if not head[0] & FINAL or head[1] > PAYLOAD_BYTES:
        raise ProbeError(f"a message in parts, masked, or longer than {PAYLOAD_BYTES} bytes: {head!r}")
    return head[0] & ~FINAL, stream.read(head[1])


def check_echo(port: int, message_bytes: int) -> None:
    """Open, see one text message come back, close. ProbeError where the server does anything else; OSError."""
    key, message = b64encode(os.urandom(16)), b64encode(os.urandom(message_bytes))[:message_bytes]
    with connected(port) as (connection, stream):
        connection.sendall(handshake(key))
        check_accepted(stream, key)
        connection.sendall(masked_frame(TEXT, message))
        if (answer := read_frame(stream)) != (TEXT, message):
            raise ProbeError(f"echoed {answer} instead of {(TEXT, message)}")
        connection.sendall(masked_frame(CLOSE, NORMAL))
        opcode, _ = read_frame(stream)
        if opcode != CLOSE:
            raise ProbeError(f"answered a close with opcode {opcode}")
