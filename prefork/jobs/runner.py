"""The offloader's side of jobs: read one, run it, send what comes of it. An ordinary blocking loop."""

import logging
import os
import pickle
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from contextvars import Context, copy_context
from typing import Any, Final, NamedTuple, Protocol

from prefork.errors import Crashed, OffloadError
from prefork.jobs import context, failures, hooks, payload, wire
from prefork.jobs.arena import ArenaReader, ArenaWriter, size
from prefork.jobs.lending import Lent, arriving
from prefork.jobs.limits import UNLIMITED, Limits
from prefork.jobs.payload import Payload
from prefork.jobs.references import name_of, runs_its_argument, subject
from prefork.jobs.wire import HEADER, Header
from prefork.settings import Settings
from prefork.system import log, process

_log = logging.getLogger("prefork.offload")

# How long to look for the next job before going to sleep. To wake a process on a core that has gone to sleep takes
# longer than most small jobs (measured: a round trip of 48 µs instead of 111); it costs so much CPU a job at the most,
# and whoever else wants the core has it at once.
SPIN_SECONDS: Final = 100e-6
PROGRESS_SECONDS: Final = 0.01  # between two reports, on average: a tight loop must not drown its worker in them
PROGRESS_BURST: Final = 50  # reports that may come at once


class About(NamedTuple):
    """What a job has beside its call; the limits as in `Terms`."""

    request: str | None
    variables: dict[str, Any]
    memory: int
    cpu_seconds: float
    nice: int


class Streamed(NamedTuple):
    """Returned by a job: send these one by one."""

    items: Iterable[Any]


@runs_its_argument
def stream_call(function: Callable[..., Iterable[Any]], *args: Any, **kwargs: Any) -> Streamed:
    """What `offload.stream` runs."""
    return Streamed(function(*args, **kwargs))


class LetGo(BaseException):
    """The worker is gone, or needs this offloader no more. Not an Exception: code of a job may be on the stack."""


class Reports(Protocol):
    """Who runs the job that reports."""

    def progress(self, fraction: float, note: str) -> None:
        """Pass it on to who watches the job."""


current: Reports | None = None  # in an offloader, its runner


class Pace:
    """Lets reports of progress through: a burst at once, then one every PROGRESS_SECONDS."""

    def __init__(self) -> None:
        self._due = 0.0  # when the next one is, if they come evenly

    def allows(self) -> bool:
        now = time.monotonic()
        due = max(self._due, now - PROGRESS_BURST * PROGRESS_SECONDS)
        if due > now:
            return False
        self._due = due + PROGRESS_SECONDS
        return True


class Message(NamedTuple):
    """A reply that is ready to be sent: in itself, or in the arena."""

    kind: int
    flags: int
    pickle: bytes
    buffers: int
    arena_bytes: int
    lent: Lent | None


def offloaded() -> bool:
    """Whether this process is an offloader."""
    return current is not None


class Runner:
    """Runs the jobs that come through a channel, until its other end closes."""

    def __init__(self, channel: socket.socket, settings: Settings) -> None:
        """`channel` blocks."""
        self._channel = channel
        self._settings = settings
        self._room = bytearray(wire.MESSAGE_BYTES)
        self._view = memoryview(self._room)
        self._arguments: ArenaReader | None = None
        self._results: ArenaWriter | None = None
        self._placed = 0  # messages that we have put into an arena
        self._read = 0  # of them the worker has read
        self._ran = 0
        self._nice = 0  # beyond what we were started with
        self._number = 0  # of the job that runs; 0: none
        self._told: Payload | None = None  # progress that has not been sent
        self._pace = Pace()
        self._own_children: set[int] = set()  # of the start hooks: they stay
        self._hooks_run = 0

    def start(self) -> None:
        """Run the start hooks, then tell the worker that jobs may come. Raises what they raise."""
        self._run_start_hooks()
        self._own_children = process.children()
        self._send(self._place(wire.READY, payload.encode(None)))

    def stop(self) -> int:
        """Run the stop hooks. Returns the exit code: 1 when one of them raised, which is logged."""
        code = 0
        for hook in hooks.on_stop:
            try:
                hook()
            except Exception:
                _log.exception("offload stop hook %s failed", name_of(hook))
                code = 1
        return code

    def not_ready(self, traceback: str) -> None:
        """Tell the worker why none can."""
        self._send(self._place(wire.NOT_READY, payload.encode(traceback)))

    def serve(self) -> None:
        """Run jobs. Returns when the worker lets us go, or when it is time to be replaced."""
        global current
        current = self
        with suppress(LetGo):
            while not self._run(*self._receive()):
                pass

    def progress(self, fraction: float, note: str) -> None:
        """Report how far the job that runs has come; the latest report is kept when they come too fast. Raises what
        pickle raises."""
        self._told = payload.encode((fraction, note))
        if self._pace.allows():
            self._tell()

    def _run_start_hooks(self) -> None:
        while self._hooks_run < len(hooks.on_start):
            hooks.on_start[self._hooks_run]()
            self._hooks_run += 1

    # -- a job

    def _run(self, header: Header, stream: memoryview, lent: list[int]) -> bool:
        """Run a job and send its last word. Returns whether it was this offloader's last."""
        if header.kind != wire.JOB:
            self._read = header.number
            return False
        self._number = header.number
        began = time.monotonic()
        kind, reply, flags = self._do(header, stream, lent)
        self._end_leftovers()
        if self._told is not None:
            self._tell()
        message = self._place(kind, reply)
        del reply  # which may refer to the arguments
        if header.flags & wire.IN_ARENA and self._arguments is not None and not self._arguments.let_go():
            flags |= wire.KEPT
            self._arguments.close()
            self._arguments = None
        self._ran += 1
        if self._spent():
            flags |= wire.LEAVING
        number, self._number = self._number, 0
        self._send(message, number, flags, time.monotonic() - began)
        log.working_on(None, None)
        return bool(flags & wire.LEAVING)

    def _do(self, header: Header, stream: memoryview, lent: list[int]) -> tuple[int, Payload, int]:
        """Run a job up to its last word: its kind, its payload, and flags. Nothing of its arguments is held then."""
        try:
            if header.flags & wire.LENT:
                with arriving(lent):
                    function, args, kwargs, about = self._load(header, stream)
            else:
                function, args, kwargs, about = self._load(header, stream)
            if self._hooks_run < len(hooks.on_start):  # the function's module has just been imported
                self._run_start_hooks()
            name = name_of(subject(function, args))
            log.working_on(header.number, about.request if about else None)
            self._be_nice(about.nice if about else self._settings.offload_nice)
            inside = context.make(about.variables) if about else copy_context()
            with Limits(name, about.memory, about.cpu_seconds) if about else UNLIMITED:
                if context.tracer is None or about is None or context.TRACE not in about.variables:
                    value = self._call(inside, function, args, kwargs, name)
                else:
                    with context.tracer.running(inside, name, header.number):
                        value = self._call(inside, function, args, kwargs, name)
            reply = payload.encode_result(value, name)
            if reply.big:
                self._arena.check(reply, f"the result of {name}")
            return wire.RESULT, reply, 0
        except LetGo:
            raise
        except BaseException as error:
            return wire.ERROR, self._failure(error), wire.LEAVING if isinstance(error, Crashed) else 0

    def _call(
        self, inside: Context, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], name: str
    ) -> Any:
        """The result; of a stream, whose items are sent from here, None."""
        value = call_job(inside, function, args, kwargs)
        if type(value) is Streamed:
            self._stream(value.items, inside, name)
            return None
        return value

    def _be_nice(self, nice: int) -> None:
        if nice > self._nice:  # there is no way back (nice(2)); the worker knows
            os.nice(nice - self._nice)
            self._nice = nice

    def _load(self, header: Header, stream: memoryview) -> tuple[Any, tuple[Any, ...], dict[str, Any], About | None]:
        if header.flags & wire.IN_ARENA:
            if self._arguments is None:
                raise OffloadError("the job's arguments did not arrive: this process has no descriptor left for them")
            return self._arguments.load(header.arena_bytes, header.buffers)  # type: ignore[no-any-return]
        return pickle.loads(stream)  # type: ignore[no-any-return]

    def _stream(self, items: Iterable[Any], inside: Context, name: str) -> None:
        iterator: Iterator[Any] = inside.run(iter, items)
        end = object()
        while (item := call_job(inside, next, (iterator, end), {})) is not end:
            reply = payload.encode_result(item, name)
            if reply.big:
                self._arena.check(reply, f"an item of {name}")
            self._send(self._place(wire.ITEM, reply), self._number)

    def _failure(self, error: BaseException) -> Payload:
        failure = payload.encode(failures.take(error))
        if failure.big and size(failure) > self._settings.offload_arena:
            words = f"{type(error).__qualname__}, which is larger than offload_arena"
            return payload.encode(failures.take(OffloadError(words)))
        return failure

    def _end_leftovers(self) -> None:
        """End what the job has started and left behind: it was a child of it, or of one of those (we are subreaper)."""
        if not self._own_children and not process.has_children():
            return
        process.kill_children(spare=self._own_children)

    def _spent(self) -> bool:
        settings = self._settings
        if 0 < settings.offload_max_jobs <= self._ran:
            return True
        return 0 < settings.offload_max_rss < process.resident_bytes() if settings.offload_max_rss else False

    # -- messages

    def _receive(self) -> tuple[Header, memoryview, list[int]]:
        length, descriptors = self._await_message()
        if not length:
            raise LetGo
        header = Header(*HEADER.unpack_from(self._room))
        arena_descriptor, lent = wire.split(header, descriptors) if descriptors else (None, descriptors)
        if header.flags & wire.NEW_ARENA:
            if self._arguments is not None:
                self._arguments.close()
            self._arguments = None if arena_descriptor is None else ArenaReader(arena_descriptor)
        return header, self._view[HEADER.size : length], lent

    def _await_message(self) -> tuple[int, list[int]]:
        """Wait for a message: awake for a while, then asleep."""
        until = time.perf_counter() + SPIN_SECONDS
        while time.perf_counter() < until:
            try:
                return wire.receive(self._channel, self._room, wire.NOW)
            except BlockingIOError:
                os.sched_yield()
        return wire.receive(self._channel, self._room)

    def _place(self, kind: int, reply: Payload) -> Message:
        """A reply as a message; if it is big, it is in the arena from then on."""
        if not reply.big:
            return Message(kind, 0, reply.pickle, 0, 0, reply.lent)
        while self._read < self._placed and kind == wire.ITEM:  # hold the stream up until there is room
            self._read = self._receive()[0].number
        if self._read < self._placed and self._results is not None:
            # The worker has not come to read what is there, and jobs wait behind this one: they must not wait for it.
            self._results.close()
            self._results = None
        arena = self._arena
        arena.write(reply)
        self._placed += 1
        return Message(kind, wire.IN_ARENA, b"", 1 + len(reply.buffers), arena.bytes, reply.lent)

    def _send(self, message: Message, number: int = 0, flags: int = 0, seconds: float = 0.0) -> None:
        flags |= message.flags
        descriptors: Sequence[int] = ()
        if message.lent is not None:
            flags |= wire.LENT
            descriptors = message.lent.descriptors
        if message.flags & wire.IN_ARENA and not self._arena.shared:
            flags |= wire.NEW_ARENA
            descriptors = [self._arena.descriptor, *descriptors]
            self._arena.shared = True
        head = HEADER.pack(message.kind, flags, message.buffers, number, seconds, message.arena_bytes)
        self._put(head + message.pickle, descriptors)

    def _put(self, message: bytes, descriptors: Sequence[int]) -> None:
        try:
            wire.send(self._channel, message, descriptors)
        except OSError as error:
            raise LetGo from error

    @property
    def _arena(self) -> ArenaWriter:
        if self._results is None:
            self._results = ArenaWriter(self._settings.offload_arena)
        return self._results

    def _tell(self) -> None:
        told, self._told = self._told, None
        if self._number and told is not None:
            self._send(self._place(wire.PROGRESS, told), self._number)


def call_job(inside: Context, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run the app's code. Stacks are shown down to here."""
    return inside.run(function, *args, **kwargs)
