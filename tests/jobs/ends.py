"""Both ends of an offloader's channel, for a test to play by hand: the worker's for a real runner, and its own."""

import os
import pickle
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple

from prefork.jobs import failures, wire
from prefork.jobs.arena import ArenaReader, ArenaWriter
from prefork.jobs.lending import arriving
from prefork.jobs.payload import Payload, encode, encode_call
from prefork.jobs.runner import About, Runner
from prefork.jobs.wire import HEADER, Header
from prefork.settings import Settings
from prefork.system.channel import adopt, seqpacket_pair
from tests.jobs.loop import readable
from tests.processes.patience import GUARD_SECONDS


class Message(NamedTuple):
    """What one end has read."""

    kind: int
    number: int
    value: Any
    flags: int = 0
    seconds: float = 0.0

    @property
    def error(self) -> BaseException:
        """What an ERROR message makes of its exception."""
        assert self.kind == wire.ERROR, self
        return failures.restore(self.value)


class End:
    """One end of a channel, which sends and reads whole messages; large ones through an arena of its own."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.channel.settimeout(GUARD_SECONDS)
        self._room = bytearray(wire.MESSAGE_BYTES)
        self._arena = ArenaWriter(1 << 40)
        self._theirs: ArenaReader | None = None
        self._copied = 0  # messages that were in their arenas

    def send(self, kind: int, sent: Payload, number: int = 0, flags: int = 0, seconds: float = 0.0) -> None:
        if sent.lent is not None:
            flags |= wire.LENT
        if not sent.big:
            head = HEADER.pack(kind, flags, 0, number, seconds, 0)
            wire.send(self.channel, head + sent.pickle, sent.descriptors)
            return
        self._arena.write(sent)
        descriptors = [*([] if self._arena.shared else [self._arena.descriptor]), *sent.descriptors]
        flags |= wire.IN_ARENA | (0 if self._arena.shared else wire.NEW_ARENA)
        head = HEADER.pack(kind, flags, 1 + len(sent.buffers), number, seconds, self._arena.bytes)
        wire.send(self.channel, head, descriptors)
        self._arena.shared = True

    def read_now(self) -> Message | None:
        """The next message, if there is one."""
        return self.read() if readable(self.channel.fileno()) else None

    def read(self) -> Message:
        """The next message. Waits for it."""
        length, descriptors = wire.receive(self.channel, self._room)
        if not length:
            raise EOFError
        header = Header(*HEADER.unpack_from(self._room))
        arena_descriptor, lent = wire.split(header, descriptors)
        if arena_descriptor is not None:
            if self._theirs is not None:
                self._theirs.close()
            self._theirs = ArenaReader(arena_descriptor)
        with arriving(lent):
            if header.flags & wire.IN_ARENA:
                assert self._theirs is not None
                value = self._theirs.copy(header.arena_bytes, header.buffers)
                self._copied += 1
            else:
                value = pickle.loads(bytes(self._room[HEADER.size : length])) if length > HEADER.size else None
        if header.flags & wire.KEPT:  # never to be written again
            self._renew()
        return Message(header.kind, header.number, value, header.flags, header.seconds)

    def _renew(self) -> None:
        self._arena.close()
        self._arena = ArenaWriter(1 << 40)

    def close(self) -> None:
        self.channel.close()
        self._arena.close()
        if self._theirs is not None:
            self._theirs.close()


class Near(End):
    """The worker's end, and behind the other a real runner in a thread."""

    def __init__(self, settings: Settings) -> None:
        ours, self._far = seqpacket_pair()
        super().__init__(ours)
        self._far.setblocking(True)
        self.runner = Runner(self._far, settings)
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._starts = False
        self._number = 0

    def begin(self, starts: bool = False) -> "Near":
        """Let it serve; with `starts` its start hooks come first."""
        self._starts = starts
        self._thread.start()
        return self

    def _live(self) -> None:
        if self._starts:
            self.runner.start()
        self.runner.serve()

    def give(self, function: Callable[..., Any], *args: Any, about: About | None = None, **kwargs: Any) -> int:
        """Give it a job. Returns its number."""
        self._number += 1
        self.send(wire.JOB, encode_call(function, "app.f", args, kwargs, about), self._number)
        return self._number

    def ask(self, function: Callable[..., Any], *args: Any, about: About | None = None, **kwargs: Any) -> Message:
        """Give it a job and wait for its last word."""
        number = self.give(function, *args, about=about, **kwargs)
        *_, last = self.all_of(number)
        return last

    def all_of(self, number: int) -> list[Message]:
        """All that it says of a job, as it comes, up to the last word."""
        found: list[Message] = []
        while not found or found[-1].kind not in (wire.RESULT, wire.ERROR):
            found.append(self.read())
            assert found[-1].number == number
            if found[-1].flags & wire.IN_ARENA:
                self.say_read()
        return found

    def say_read(self) -> None:
        """Say how many messages in its arenas have been read; it may be said again."""
        self.channel.send(HEADER.pack(wire.READ, 0, 0, self._copied, 0.0, 0))

    def wait_end(self) -> None:
        """Wait until it has ended by itself."""
        self._thread.join(GUARD_SECONDS)
        assert not self._thread.is_alive()

    def close(self) -> None:
        self.channel.shutdown(socket.SHUT_RDWR)
        if self._thread.ident is not None:
            self.wait_end()
        super().close()
        self._far.close()
        close_arenas(self.runner)


def close_arenas(runner: Runner) -> None:
    """What the end of its process does for a runner."""
    for arena in (runner._arguments, runner._results):
        if arena is not None:
            arena.close()


Start = Callable[..., Near]


class Far(End):
    """An offloader's end, with the descriptors that came with the order for it. What is in its arena it does not write
    over before it was told that it has been read."""

    def __init__(self, number: int, descriptors: list[int]) -> None:
        channel, self.stacks = (os.dup(descriptor) for descriptor in descriptors)
        super().__init__(adopt(channel))
        self.number = number
        self._placed = 0  # messages in arenas
        self._read = 0  # of them the worker has read

    def ready(self) -> None:
        self.send(wire.READY, encode(None))

    def not_ready(self, traceback: str) -> None:
        self.send(wire.NOT_READY, encode(traceback))

    def take(self) -> int:
        """Read the next job, which then runs. Returns its number."""
        message = self.read_next()
        assert message is not None, "it was given nothing"
        assert message.kind == wire.JOB
        return message.number

    def given(self) -> list[int]:
        """The jobs that it can read now, in order."""
        numbers = []
        while (message := self.read_next()) is not None:
            numbers.append(message.number)
        return numbers

    def read_next(self) -> Message | None:
        """The next message that is no word of our arena having been read, if there is one."""
        while (message := self.read_now()) is not None and message.kind == wire.READ:
            pass
        return message

    def read(self) -> Message:
        message = super().read()
        if message.kind == wire.READ:
            self._read = message.number
        return message

    def send(self, kind: int, sent: Payload, number: int = 0, flags: int = 0, seconds: float = 0.0) -> None:
        if sent.big:
            if self._read < self._placed:
                self._renew()
            self._placed += 1
        super().send(kind, sent, number, flags, seconds)

    def sees_end(self) -> bool:
        """Whether its worker has let it go."""
        try:
            message = self.read_now()
        except EOFError:
            return True
        assert message is None
        return False

    def returns(self, number: int, value: Any = None, seconds: float = 0.0, flags: int = 0) -> None:
        self.send(wire.RESULT, encode(value), number, flags, seconds)

    def raises(self, number: int, error: BaseException, flags: int = 0) -> None:
        self.send(wire.ERROR, encode(failures.take(error)), number, flags)

    def item(self, number: int, value: Any) -> None:
        self.send(wire.ITEM, encode(value), number)

    def progress(self, number: int, fraction: float, note: str = "") -> None:
        self.send(wire.PROGRESS, encode((fraction, note)), number)

    def close(self) -> None:
        super().close()
        os.close(self.stacks)


class FakeSpawner:
    """Forks nothing: a test plays each offloader, and tells of its birth and death."""

    def __init__(self) -> None:
        self.on_forked: Callable[[int, int], None] = lambda number, pid: None
        self.on_gone: Callable[[int, int | None, bool, str], None] = lambda number, status, oom, reason: None
        self.ordered: dict[int, Far] = {}  # all there ever were
        self.ended: list[tuple[int, float]] = []  # number, grace
        self.closed = False
        self._open = ExitStack()

    def order(self, number: int, descriptors: list[int]) -> None:
        self.ordered[number] = Far(number, descriptors)
        self._open.callback(self.ordered[number].close)

    def end(self, number: int, grace: float) -> None:
        self.ended.append((number, grace))

    def close(self) -> None:
        self.closed = True

    def release(self) -> None:
        """Close what tests have played with."""
        self._open.close()
