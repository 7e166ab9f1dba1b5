"""The worker's record of an offloader: its channel, the jobs it was given, its arenas."""

import os
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final

from prefork.jobs import wire
from prefork.jobs.arena import ArenaReader, ArenaWriter
from prefork.jobs.job import Job
from prefork.jobs.lending import arriving
from prefork.jobs.wire import HEADER, Header
from prefork.system.channel import seqpacket_pair

STACK_BYTES: Final = 32 * 1024
_BELOW: Final = ("in call_job", "in run_offloader", "in run_actor")  # frames from here on are ours


class OffloaderHandle:
    """What was reported of one offloader, and what it was given. Its own end of the channel is kept too: what it has
    not read, we can take back. A message is read whole by one of us, so each job is run by one process, once."""

    kind = "offloader"

    def __init__(self, number: int, end: socket.socket, far: socket.socket, stacks: int) -> None:
        """`end` and `far`, its own, are the ends of its channel, `stacks` its stacks file. All are ours from now on."""
        self.number = number
        self.pid: int | None = None  # None until it is forked
        self.ready = False
        self.boot_error = ""
        self.reading = False  # the event loop watches its channel
        self.given: dict[int, Job] = {}  # sent and not answered, by number, in order
        self.alone = False  # what it was given shall have nothing behind it: large, or a stream
        self.read = 0  # messages that were in its arena
        self.large = False  # what it said last was in its arena: it must not get ahead of our reading it
        self.loading: Job | None = None  # its arguments are on their way into the arena
        self.copying = False  # a thread copies to or from an arena: what it says next must not overtake that
        self.paused = False  # the items it sends are not wanted now
        self.when_copied: Callable[[], None] | None = None  # it is gone, but a copy still needs our descriptors
        self.nice = 0
        self.idle_since = 0.0
        self.leaving = False  # it ends by itself, or is being ended
        self.shrunk = True
        self.arena: ArenaWriter | None = None
        self.results: ArenaReader | None = None  # its arena
        self.end, self.far, self.stacks = end, far, stacks

    @classmethod
    def make(cls, number: int) -> "OffloaderHandle":
        """One that is to be ordered. Raises OSError."""
        stacks = os.memfd_create("prefork-stacks", os.MFD_CLOEXEC)
        try:
            end, far = seqpacket_pair()
        except OSError:
            os.close(stacks)
            raise
        far.setblocking(True)  # the flag is its own too; we read with MSG_DONTWAIT
        return cls(number, end, far, stacks)

    def __str__(self) -> str:
        return f"{self.kind} {self.number} (pid {self.pid})"

    @property
    def idle(self) -> bool:
        return self.ready and not self.given and not self.leaving and not self.copying

    def send(self, job: Job) -> bool:
        """Give it a job whose payload is in the message. False when it takes none now."""
        lent = job.payload.descriptors
        head = HEADER.pack(wire.JOB, wire.LENT if lent else 0, 0, job.number, 0.0, 0)
        return self._send(head + job.payload.pickle, lent)

    def send_loaded(self, job: Job) -> bool:
        """Give it a job whose payload is in the arena."""
        arena = self.arena
        assert arena is not None
        lent = job.payload.descriptors
        flags = wire.IN_ARENA | (0 if arena.shared else wire.NEW_ARENA) | (wire.LENT if lent else 0)
        head = HEADER.pack(wire.JOB, flags, 1 + len(job.payload.buffers), job.number, 0.0, arena.bytes)
        sent = self._send(head, lent if arena.shared else [arena.descriptor, *lent])
        arena.shared = arena.shared or sent
        return sent

    def send_read(self) -> bool:
        """Say how much of what it put into its arena has been read. A count, so that it may be said again."""
        return self._send(HEADER.pack(wire.READ, 0, 0, self.read, 0.0, 0))

    @property
    def unread(self) -> bool:
        """Whether something waits that it has not read."""
        try:
            return bool(self.far.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except OSError:  # nothing there
            return False

    def take_back(self, room: bytearray) -> list[Job]:
        """The jobs it has not begun; they are ours again."""
        taken = []
        told_again = False
        while True:
            try:
                length, descriptors = wire.receive(self.far, room, wire.NOW)
            except OSError:  # nothing there
                break
            if not length:
                break
            for descriptor in descriptors:
                os.close(descriptor)
            header = Header(*HEADER.unpack_from(room))
            if header.flags & wire.NEW_ARENA and self.arena is not None:
                self.arena.shared = False
            told_again = told_again or header.kind == wire.READ
            job = self.given.pop(header.number, None) if header.kind == wire.JOB else None
            if job is not None:
                taken.append(job)
        if told_again:
            self.send_read()  # which was among what we took
        return taken

    def forget_arena(self) -> None:
        """A job still refers to it: the next one gets another."""
        if self.arena is not None:
            self.arena.close()
            self.arena = None

    def take_results(self, descriptor: int | None) -> None:
        """It writes its results to another arena from now on. None: this process has no descriptor left for it."""
        if self.results is not None:
            self.results.close()
        self.results = None if descriptor is None else ArenaReader(descriptor)

    def copy_results(self, length: int, parts: int, lent: list[int]) -> Any:
        """What is in its arena, with what came beside it. Raises OSError when that did not reach us, or what the
        value's classes raise."""
        with arriving(lent):
            if self.results is None:
                raise OSError("no descriptor left for its arena")
            return self.results.copy(length, parts)

    def shrink(self) -> None:
        """Give back the memory of its arenas."""
        if self.arena is not None:
            self.arena.shrink()
        if self.results is not None:
            self.results.shrink()
        self.shrunk = True

    def stack(self) -> str:
        """What Python was doing when it died, if faulthandler could tell; only the app's frames."""
        return read_stack(self.stacks, _BELOW)

    def hang_up(self) -> None:
        """Let it see the end of its channel."""
        self.end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """It is gone."""
        self.end.close()
        self.far.close()
        os.close(self.stacks)
        self.forget_arena()
        if self.results is not None:
            self.results.close()

    def _send(self, message: bytes, descriptors: Sequence[int] = ()) -> bool:
        try:
            wire.send(self.end, message, descriptors)
        except OSError:  # it is full or gone
            return False
        return True


def read_stack(descriptor: int, below: tuple[str, ...]) -> str:
    """What faulthandler wrote to a file, without the frames from those down that end in one of `below`."""
    size = os.fstat(descriptor).st_size
    text = os.pread(descriptor, STACK_BYTES, max(0, size - STACK_BYTES)).decode("utf-8", "replace")
    lines: list[str] = []
    inside = False
    for line in text.splitlines():
        inside = line.startswith("  File ") and (inside or line.endswith(below))
        if not inside and not line.startswith("Extension modules:"):
            lines.append(line)
    return "\n".join(lines).strip()
