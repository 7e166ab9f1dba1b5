"""WebSocket in memory: what a client sends and reads as bytes, and a server whose handlers get a WebSocket."""

import struct
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from prefork.errors import WebSocketClosed
from prefork.http.exchange import Exchange
from prefork.http.websocket import State, WebSocket
from tests.http.server import Client, Server

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
FINAL = 0x80
MASK = b"\x37\xfa\x21\x3d"  # of the examples in RFC 6455, 5.7
KEY, ACCEPT = "dGhlIHNhbXBsZSBub25jZQ==", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455, 1.3
HANDSHAKE = ("Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Version: 13")

Handler = Callable[[WebSocket], Awaitable[object]]


class Frame(NamedTuple):
    """One frame of the server's: its first byte and its payload."""

    first: int
    payload: bytes


def frame(opcode: int, payload: bytes = b"", final: bool = True, rsv: int = 0, mask: bytes | None = MASK) -> bytes:
    """A client's frame. `rsv`: the three reserved bits, RSV1 is 4."""
    length = len(payload)
    masked = 0 if mask is None else 0x80
    head = bytes([(FINAL if final else 0) | rsv << 4 | opcode])
    if length < 126:
        head += bytes([masked | length])
    elif length < 1 << 16:
        head += struct.pack("!BH", masked | 126, length)
    else:
        head += struct.pack("!BQ", masked | 127, length)
    if mask is None:
        return head + payload
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


def text(content: str) -> bytes:
    return frame(TEXT, content.encode())


def close(code: int | None = None, reason: str = "") -> bytes:
    return frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason.encode())


def frames(data: bytes) -> list[Frame]:
    """What a server sent, frame by frame; every one must be whole and without a mask."""
    found = []
    while data:
        length, start = data[1], 2
        assert length < 0x80, "a server does not mask"
        if length == 126:
            length, start = struct.unpack_from("!H", data, 2)[0], 4
        elif length == 127:
            length, start = struct.unpack_from("!Q", data, 2)[0], 10
        assert len(data) >= start + length, "cut"
        found.append(Frame(data[0], data[start : start + length]))
        data = data[start + length :]
    return found


class Peer:
    """A client that has been accepted."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.transport = client.transport

    def send(self, *pieces: bytes) -> "Peer":
        self.client.send(*pieces)
        return self

    @property
    def head(self) -> bytes:
        return self.client.received.partition(b"\r\n\r\n")[0]

    @property
    def frames(self) -> list[Frame]:
        return frames(self.client.received.partition(b"\r\n\r\n")[2])

    @property
    def texts(self) -> list[str]:
        return [payload.decode() for first, payload in self.frames if first == FINAL | TEXT]

    @property
    def closed(self) -> tuple[int, str] | None:
        """Code and reason of the server's close frame, which must be its last; code 0: it has none."""
        for place, (first, payload) in enumerate(self.frames):
            if first == FINAL | CLOSE:
                assert place == len(self.frames) - 1, "a frame after the close frame"
                return (struct.unpack("!H", payload[:2])[0] if payload else 0), payload[2:].decode()
        return None


class Sockets(Server):
    """Accepts what asks for a WebSocket and lets `handler` have it."""

    def __init__(self, handler: Handler, **settings: Any) -> None:
        super().__init__(self._serve, **settings)
        self.handler = handler
        self.sockets: list[WebSocket] = []
        self.ends: list[tuple[int, str]] = []  # of handlers that raised WebSocketClosed

    async def _serve(self, exchange: Exchange) -> None:
        socket = exchange.websocket()
        self.sockets.append(socket)
        socket.accept()
        try:
            await self.handler(socket)
            if socket.state is State.OPEN:
                socket.close()
        except WebSocketClosed as closed:
            self.ends.append((closed.code, closed.reason))

    def open(self, *fields: str) -> Peer:
        peer = Peer(self.connect().get("/ws", *HANDSHAKE, *fields))
        assert peer.head.startswith(b"HTTP/1.1 101 "), peer.head
        return peer


async def echo(socket: WebSocket) -> None:
    """Send back what comes."""
    while True:
        await socket.send(await socket.receive())


class Reading:
    """A handler that takes a message when told to."""

    def __init__(self) -> None:
        self.messages: list[str | bytes] = []
        self.end: WebSocketClosed | None = None
        self._wanted = 0
        self._wake: Callable[[], object] = lambda: None

    def take(self, server: Server, count: int = 1) -> None:
        self._wanted += count
        self._wake()
        server.run()

    async def __call__(self, socket: WebSocket) -> None:
        while True:
            while not self._wanted:
                told = socket.loop.create_future()
                self._wake = lambda told=told: None if told.done() else told.set_result(None)  # type: ignore[misc]
                await told
            self._wanted -= 1
            try:
                self.messages.append(await socket.receive())
            except WebSocketClosed as closed:
                self.end = closed
                raise
