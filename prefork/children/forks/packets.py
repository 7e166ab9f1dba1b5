"""What a parent and the child it has forked send each other: one SOCK_SEQPACKET message each (unix(7)).

A packet is a header, then a value. A value of 64 KiB or more is in a memfd of its own that travels along (SCM_RIGHTS),
before the descriptors that the value needs to be made anew, and those that were attached to it.
"""

import array
import os
import pickle
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, NamedTuple, NoReturn, Protocol

import msgspec

from prefork.errors import ChildError, Unsendable
from prefork.jobs.arena import ArenaReader, ArenaWriter, size
from prefork.jobs.lending import arriving
from prefork.jobs.payload import BIG_BYTES, Payload, decode, encode, wrap

Codec = Literal["pickle", "msgspec"]
CODECS: Final = ("pickle", "msgspec")

HEADER: Final = struct.Struct("<BBBBIQ")  # kind, flags, descriptors lent, attached, parts, bytes in the memfd
PACKET_BYTES: Final = BIG_BYTES + HEADER.size
MOST_ATTACHED: Final = (
    200  # descriptors; with a memfd and those that are lent they stay below the kernel's limit of 253
)
LARGE: Final = 1  # flag: the value is in a memfd
FRESH: Final = 2  # flag of START: the child is to be a new interpreter

# Kinds of packets. Plain numbers, as in jobs/wire.py.
START: Final = 1  # parent → child: whom to call, and how we talk; our side channel is attached
ARGUMENTS: Final = 2  # parent → child: what to call it with
READY: Final = 3  # child → parent: the target was found, and is called now; the value is our pid
NOT_READY: Final = 4  # child → parent: it was not; the value says why
MESSAGE: Final = 5
BYE: Final = 6  # child → parent: I disconnect, and go on

_LEVEL, _TYPE = socket.SOL_SOCKET, socket.SCM_RIGHTS
_DESCRIPTOR_BYTES: Final = array.array("i").itemsize
ROOM: Final = socket.CMSG_SPACE(253 * _DESCRIPTOR_BYTES)
_NOW: Final = int(socket.MSG_DONTWAIT)
CLOEXEC: Final = int(socket.MSG_CMSG_CLOEXEC)
_PLAIN: Final = frozenset((str, int, float, bool, type(None)))  # has no buffers, and needs no care

_no_descriptors: Final[list[int]] = []


class HasFileno(Protocol):
    """A socket, a file, a pipe's end."""

    def fileno(self) -> int: ...


Attached = Sequence["int | HasFileno"]  # descriptors to send along


class WithFds:
    """A message that was sent with descriptors. They are closed with this object, unless they were taken.

    `message` is the value, `fds` are the descriptors, in the order they were sent in. A socket is made of one by
    `socket.socket(fileno=fd)`, a file by `os.fdopen(fd)`, after `take`.
    """

    def __init__(self, message: Any, fds: list[int]) -> None:
        self.message = message
        self.fds = fds

    def take(self) -> list[int]:
        """The descriptors, from now on the caller's to close."""
        taken, self.fds = self.fds, []
        return taken

    def close(self) -> None:
        """Close those that were not taken."""
        close_all(self.take())

    def __repr__(self) -> str:
        return f"WithFds({self.message!r}, fds={self.fds})"

    def __reduce__(self) -> NoReturn:
        # A copy would close, by number, what is another's.
        raise TypeError("to send a WithFds on, say send(it.message, fds=it.fds)")

    def __del__(self) -> None:
        self.close()


class Packet:
    """A packet on its way out. It is closed when it was sent, or never will be."""

    __slots__ = ("_arena", "_attached", "_payload", "data", "heavy", "weight")

    def __init__(self, kind: int, payload: Payload, attached: Sequence[int] = (), flags: int = 0) -> None:
        self._payload = payload  # it owns what it lends
        self._attached = attached
        self._arena: ArenaWriter | None = None
        self.weight = 0  # bytes in shared memory
        if payload.lent is None and not (attached or payload.buffers) and len(payload.pickle) < BIG_BYTES:
            self.data = HEADER.pack(kind, flags, 0, 0, 1, 0) + payload.pickle  # most of them, and quickly
            self.heavy = False
            return
        lent, count = payload.descriptors, len(payload.buffers)
        if payload.big:
            self.weight = size(payload)
            self.data = HEADER.pack(kind, flags | LARGE, len(lent), len(attached), 1 + count, self.weight)
        else:
            self.data = HEADER.pack(kind, flags, len(lent), len(attached), 1, 0) + payload.pickle
        # Whether it holds more than the kernel's queue accounts for: shared memory, or descriptors.
        self.heavy = bool(self.weight or attached or lent)

    @property
    def unfilled(self) -> bool:
        """Whether `fill` is to be called before it is sent."""
        return bool(self.weight) and self._arena is None

    def fill(self) -> None:
        """Copy a large value into shared memory. Raises OSError for lack of it."""
        arena = ArenaWriter(self.weight)
        try:
            arena.write(self._payload)
        except BaseException:
            arena.close()
            raise
        self._arena = arena

    def send(self, end: socket.socket) -> None:
        """Raises OSError, BlockingIOError among them."""
        if not self.heavy:
            end.send(self.data, _NOW)
            return
        descriptors = [*self._payload.descriptors, *self._attached]
        if self._arena is not None:
            descriptors.insert(0, self._arena.descriptor)
        end.sendmsg([self.data], [(_LEVEL, _TYPE, array.array("i", descriptors))], _NOW)

    def close(self) -> None:
        if self._arena is not None:
            self._arena.close()
            self._arena = None


def pack(kind: int, value: Any, codec: Codec = "pickle", fds: Attached = (), most: int = 0) -> Packet:
    """A value as a packet. Raises Unsendable for what cannot travel, or is larger than `most` bytes (0: any size)."""
    attached = [fd if isinstance(fd, int) else fd.fileno() for fd in fds] if fds else _no_descriptors
    if len(attached) > MOST_ATTACHED:
        raise Unsendable(f"a message carries at most {MOST_ATTACHED} descriptors, not {len(attached)}")
    if codec == "msgspec":
        payload = _encode_msgspec(value)
    elif type(value) in _PLAIN:
        payload = Payload(pickle.dumps(value, 5), ())
    else:
        payload = _encode_pickle(value)
    packet = Packet(kind, payload, attached)
    count = packet.weight or len(packet.data)
    if most and count > most:
        raise Unsendable(f"a message of {count} bytes is larger than max_message = {most} allows")
    return packet


def start(value: Any, side: HasFileno, fresh: bool) -> Packet:
    """What a child reads first."""
    return Packet(START, Payload(pickle.dumps(value, 5), ()), [side.fileno()], FRESH if fresh else 0)


def _encode_pickle(value: Any) -> Payload:
    try:
        return encode(wrap(value))
    except Unsendable:
        raise
    except Exception as error:  # whatever its classes raise
        raise Unsendable(
            f"a message of type {type(value).__qualname__} cannot be pickled: {str(error) or type(error).__name__}; "
            "send plain data"
        ) from None


def _encode_msgspec(value: Any) -> Payload:
    try:
        return Payload(msgspec.msgpack.encode(value), ())
    except Exception as error:  # whatever its classes raise
        raise Unsendable(
            f"a message of type {type(value).__qualname__} cannot be sent by msgspec: "
            f"{str(error) or type(error).__name__}; shared memory and other Python objects need codec='pickle'"
        ) from None


class Arrived(NamedTuple):
    """A packet that was read; its value is still in the bytes, and takes all descriptors."""

    kind: int
    parts: int
    weight: int
    stream: memoryview
    memory: int | None  # descriptor of the memfd
    lent: list[int]
    attached: list[int]

    @property
    def heavy(self) -> bool:
        """As of `Packet`."""
        return self.memory is not None or bool(self.lent or self.attached)

    def value(self, codec: Codec) -> Any:
        """Make the value anew. Raises ChildError when that cannot be done."""
        if not self.heavy:
            return make(self.stream, codec)
        loads = _LOADS[codec]
        try:
            with arriving(self.lent):
                value = loads(self.stream, ()) if self.memory is None else self._load(self.memory, loads)
        except Exception as error:  # whatever its classes raise
            close_all(self.attached)
            raise _lost(error) from error
        return WithFds(value, self.attached) if self.attached else value

    def _load(self, memory: int, loads: Callable[[Any, Any], Any]) -> Any:
        reader = ArenaReader(memory)
        try:
            return reader.load(self.weight, self.parts, loads)
        finally:
            reader.close()  # what the value refers to stays mapped


def read(end: socket.socket, room: bytearray, flags: int = _NOW) -> Arrived:
    """Read a packet into `room` (PACKET_BYTES). Raises EOFError at the end, OSError, BlockingIOError among them, and
    ChildError when its descriptors did not arrive."""
    length, ancillary, _, _ = end.recvmsg_into([room], ROOM, CLOEXEC | flags)
    return parse(length, ancillary, room)


def parse(length: int, ancillary: list[tuple[int, int, bytes]], room: bytearray) -> Arrived:
    """A packet of which recvmsg(2) has put `length` bytes into `room`. Raises as `read`."""
    if not length:
        raise EOFError
    kind, packet_flags, lent, attached, parts, weight = HEADER.unpack_from(room)
    stream = memoryview(room)[HEADER.size : length]
    found: list[int] = []
    for level, what, data in ancillary:
        if level == _LEVEL and what == _TYPE:
            whole = len(data) - len(data) % _DESCRIPTOR_BYTES
            found += array.array("i", data[:whole])
    memory = 1 if packet_flags & LARGE else 0
    if len(found) != memory + lent + attached:
        close_all(found)
        raise Lost(weight)
    first, rest = found[:memory], found[memory:]
    return Arrived(kind, parts, weight, stream, first[0] if first else None, rest[:lent], rest[lent:])


class Lost(ChildError):
    """A packet came without its descriptors: this process has no room for them."""

    def __init__(self, weight: int) -> None:
        super().__init__("a message has lost its descriptors: too many open files here (RLIMIT_NOFILE)")
        self.weight = weight


def close_all(descriptors: Sequence[int]) -> None:
    """Close descriptors that are ours."""
    for descriptor in descriptors:
        os.close(descriptor)


def make(stream: memoryview, codec: Codec) -> Any:
    """A value of these bytes. Raises ChildError when that cannot be done."""
    try:
        return pickle.loads(stream) if codec == "pickle" else msgspec.msgpack.decode(stream)
    except Exception as error:  # whatever its classes raise
        raise _lost(error) from error


def _lost(error: Exception) -> ChildError:
    return ChildError(f"a message cannot be made anew here: {type(error).__qualname__}: {error}")


def _decode_msgspec(stream: memoryview, _: object) -> Any:
    return msgspec.msgpack.decode(stream)


_LOADS: Final[dict[Codec, Callable[[Any, Any], Any]]] = {"pickle": decode, "msgspec": _decode_msgspec}
