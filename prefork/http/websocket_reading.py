"""Cut a client's bytes into WebSocket frames, and put frames together to messages (RFC 6455, 5; RFC 7692). No I/O.

Messages are read one at a time, when they are asked for: one read of the loop may hold thousands, and compressed ones
may hold a thousand times its size. Masking, deflate and close codes are those of the package `websockets`.
"""

import codecs
from struct import Struct
from typing import Final

from websockets.exceptions import PayloadTooBig, ProtocolError
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Close, Frame, Opcode

from prefork.errors import PreforkError

try:
    from websockets.speedups import apply_mask
except ImportError:  # no wheel for this platform
    from websockets.utils import apply_mask

CONT, TEXT, BINARY, CLOSE, PING, PONG = (int(opcode) for opcode in Opcode)
FINAL: Final = 0x80
COMPRESSED: Final = 0x40  # RSV1, on the first frame of a message (RFC 7692, 6)
MASKED: Final = 0x80
LENGTH: Final = 0x7F
CONTROL_BYTES: Final = 125  # most of a control frame (RFC 6455, 5.5)
MASK_BYTES: Final = 4
MASKED_HEAD: Final = 6  # bytes before the payload of a masked frame whose length fits its second byte
GROWTH: Final = 16  # a 16th is more than zlib makes of what it cannot shrink (deflateBound: a 32nd and a 128th)

_PLAIN = frozenset({CONT, TEXT, BINARY, *(FINAL | opcode for opcode in (CONT, TEXT, BINARY, CLOSE, PING, PONG))})
_DEFLATED = _PLAIN | {COMPRESSED | TEXT, COMPRESSED | BINARY, FINAL | COMPRESSED | TEXT, FINAL | COMPRESSED | BINARY}
_OPCODES = {int(opcode): opcode for opcode in Opcode}
_SHORT = Struct("!H")
_LONG = Struct("!Q")
_utf8_decoder = codecs.getincrementaldecoder("utf-8")


class FrameError(PreforkError):
    """The client broke RFC 6455 or a limit. Close with `code`."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class MessageReader:
    """What one client sends. `limit` in bytes of a message, after decompression."""

    __slots__ = ("_at", "_buffer", "_decoder", "_deflate", "_deflated", "_legal", "_opcode", "_over", "_parts", "limit")

    def __init__(self, limit: int, deflate: PerMessageDeflate | None) -> None:
        self.limit = limit
        self._deflate = deflate
        self._legal = _PLAIN if deflate is None else _DEFLATED
        self._buffer: bytes | bytearray = b""
        self._at = 0  # bytes of the buffer before this are done with
        self._over = False  # a close frame was read, or what is none: the rest means nothing
        # The message that is coming in several frames:
        self._opcode = CONT  # TEXT or BINARY; CONT: there is none
        self._deflated = False
        self._parts = bytearray()
        self._decoder: codecs.IncrementalDecoder | None = None

    def short_message(self, data: bytes) -> str | bytes | None:
        """The message that `data` is, when it is short, plain, whole and comes alone, as most do. None: feed it.

        Raises FrameError."""
        size = len(data)
        if (
            not MASKED_HEAD <= size <= MASKED_HEAD + CONTROL_BYTES
            or data[1] != (MASKED | size - MASKED_HEAD)
            or self._at != len(self._buffer)
            or self._opcode != CONT
            or self._over
        ):
            return None
        first = data[0]
        if first == FINAL | TEXT:
            try:
                return str(apply_mask(data[MASKED_HEAD:], data[2:MASKED_HEAD]), "utf-8")
            except UnicodeDecodeError:
                self._over = True
                raise _not_utf8() from None
        return apply_mask(data[MASKED_HEAD:], data[2:MASKED_HEAD]) if first == FINAL | BINARY else None

    def feed(self, data: bytes) -> None:
        """Take what has arrived."""
        if self._over:
            return
        if self._at == len(self._buffer):
            self._buffer = data
        else:
            if isinstance(self._buffer, bytes):
                self._buffer = bytearray(memoryview(self._buffer)[self._at :])
            elif self._at:
                del self._buffer[: self._at]
            self._buffer += data
        self._at = 0

    def next(self) -> tuple[int, str | bytes] | None:
        """The next message or control frame: its opcode (never CONT) and what it holds; text is str. None: it has not
        arrived yet. Raises FrameError. After that, and after a close frame, there is nothing more."""
        if self._over:
            return None
        try:
            found = self._next()
        except FrameError:
            self._over = True
            raise
        if found is not None and found[0] == CLOSE:
            self._over = True
        return found

    def _next(self) -> tuple[int, str | bytes] | None:
        while (frame := self._cut()) is not None:
            first, payload = frame
            if first & 0x0F >= CLOSE:
                return first & 0x0F, payload
            message = self._assemble(first, payload)
            if message is not None:
                return message
        return None

    def _cut(self) -> tuple[int, bytes] | None:
        """The next frame: its first byte, and its payload without the mask. None if it is not all there."""
        buffer, at = self._buffer, self._at
        have = len(buffer) - at
        if have < 2:
            return None
        first, length = buffer[at], buffer[at + 1] & LENGTH
        if (
            first not in self._legal
            or not buffer[at + 1] & MASKED
            or (first & 0x0F >= CLOSE and length > CONTROL_BYTES)
        ):
            raise self._illegal(first, buffer[at + 1])
        start = at + 2
        if length > CONTROL_BYTES:
            head = _SHORT if length == CONTROL_BYTES + 1 else _LONG
            if have < 2 + head.size:
                return None
            (length,) = head.unpack_from(buffer, start)
            start += head.size
        if first & 0x0F < CLOSE:
            self._check_length(first, length)
        end = start + MASK_BYTES + length
        if len(buffer) < end:
            return None
        self._at = end
        mask = buffer[start : start + MASK_BYTES]
        with memoryview(buffer) as view, view[start + MASK_BYTES : end] as masked:
            return first, apply_mask(masked, mask)

    def _illegal(self, first: int, second: int) -> FrameError:
        opcode = first & 0x0F
        if opcode not in _OPCODES:
            return FrameError(1002, f"{opcode:#x} is no opcode")
        if not second & MASKED:
            return FrameError(1002, "a client's frames must be masked")
        if opcode >= CLOSE and not first & FINAL:
            return FrameError(1002, "a control frame must not be fragmented")
        if opcode >= CLOSE and second & LENGTH > CONTROL_BYTES:
            return FrameError(1002, f"a control frame is longer than {CONTROL_BYTES} bytes")
        return FrameError(1002, "a reserved bit is set")

    def _check_length(self, first: int, length: int) -> None:
        """Refuse what is too long before it is here."""
        deflated = first & COMPRESSED or (self._deflated and first & 0x0F == CONT)
        left = self.limit - len(self._parts)
        if length > (left + left // GROWTH + CONTROL_BYTES if deflated else left):
            raise self._too_big()

    def _too_big(self) -> FrameError:
        return FrameError(1009, f"the message is longer than {self.limit} bytes")

    def _assemble(self, first: int, payload: bytes) -> tuple[int, str | bytes] | None:
        """A data frame: the message it completes, if it does."""
        opcode = first & 0x0F
        if opcode == CONT:
            if self._opcode == CONT:
                raise FrameError(1002, "a continuation of nothing")
        elif self._opcode != CONT:
            raise FrameError(1002, "a message began within another")
        else:
            self._deflated = bool(first & COMPRESSED)
        if self._deflated:
            payload = self._inflate(first, payload)
        try:
            if opcode != CONT and first & FINAL:
                return opcode, payload.decode() if opcode == TEXT else payload
            return self._add(opcode, payload, bool(first & FINAL))
        except UnicodeDecodeError:
            raise _not_utf8() from None

    def _add(self, opcode: int, payload: bytes, final: bool) -> tuple[int, str | bytes] | None:
        """A fragment. Text is checked as it comes, and decoded once it is whole."""
        if opcode != CONT:
            self._opcode = opcode
            self._decoder = _utf8_decoder() if opcode == TEXT else None
        if self._decoder is not None:
            self._decoder.decode(payload, final)
        self._parts += payload
        if not final:
            return None
        opcode, parts = self._opcode, self._parts
        self._opcode = CONT
        self._parts = bytearray()
        return opcode, parts.decode() if opcode == TEXT else bytes(parts)

    def _inflate(self, first: int, payload: bytes) -> bytes:
        assert self._deflate is not None
        left = self.limit - len(self._parts)
        frame = Frame(_OPCODES[first & 0x0F], payload, fin=bool(first & FINAL), rsv1=bool(first & COMPRESSED))
        try:
            data = bytes(self._deflate.decode(frame, max_size=left or 1).data)  # to zlib, 0 means no limit
        except PayloadTooBig:
            raise self._too_big() from None
        except ProtocolError as error:
            raise FrameError(1002, f"{error}") from None
        if len(data) > left:
            raise self._too_big()
        decoder = getattr(self._deflate, "decoder", None)  # gone after a message without context takeover
        if decoder is not None and decoder.eof:
            # RFC 7692, 7.2.3.4 allows it, nobody does it, and what follows would be read as nothing at all.
            raise FrameError(1002, "a deflate block with BFINAL is not supported")
        return data


def _not_utf8() -> FrameError:
    return FrameError(1007, "a text message is not UTF-8")


def parse_close(payload: bytes) -> Close:
    """Code and reason of a close frame; 1005 without any. Raises FrameError (RFC 6455, 5.5.1 and 7.4)."""
    try:
        return Close.parse(payload)
    except UnicodeDecodeError:
        raise FrameError(1007, "a close reason is not UTF-8") from None
    except ProtocolError as error:
        raise FrameError(1002, f"{error}") from None
