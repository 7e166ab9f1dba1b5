"""The actor's side of calls: one session for each event loop that is connected, all with the one instance."""

import logging
import os
import pickle
import socket
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextvars import Context, copy_context
from functools import partial
from typing import Any, Final, NamedTuple

from prefork.jobs import context, failures, payload, wire
from prefork.jobs.payload import Payload
from prefork.jobs.runner import About, LetGo, Runner, call_job
from prefork.jobs.wire import Header
from prefork.settings import Settings
from prefork.system import log
from prefork.system.board import Board

# What a call asks for, in the place of a job's function: the name of a method, or one of these with its subject.
OPEN: Final = 1  # the name of a generator method: make it, and give its first items
MORE: Final = 2  # the number of the call that has opened it: give the next ones
CLOSE: Final = 3  # the same number: it is not wanted any more

PAGE_ITEMS: Final = 64  # that are given at once
PAGE_SECONDS: Final = 0.002  # what comes within this time is given together: other calls wait meanwhile

_END: Final = object()

_log = logging.getLogger("prefork.actors")


class Page(NamedTuple):
    """Some items of a stream."""

    pickles: list[bytes]  # of small ones: each as it was when it was yielded
    last: tuple[Any, ...]  # one that goes through shared memory, behind them
    ended: bool  # nothing comes after it
    failure: failures.Failure | None = None  # it ended with this


class Stream(NamedTuple):
    """A generator that has begun."""

    items: Iterator[Any]
    inside: Context
    name: str


class Session(Runner):
    """The calls of one event loop. It never waits: neither for a call, nor for its answer to be read."""

    def __init__(self, channel: socket.socket, settings: Settings, instance: Any, board: Board, seat: int) -> None:
        """`channel` does not block."""
        super().__init__(channel, settings)
        self.channel = channel
        self._instance = instance
        self._board = board
        self._seat = seat
        self._name = f"{type(instance).__module__}.{type(instance).__qualname__}."
        self._loaded: Any = None  # the call in hand, if it has been read
        self._streams: dict[int, Stream] = {}
        self._unsent: deque[tuple[bytes, Sequence[int]]] = deque()
        board.take_seat(seat)

    @property
    def clogged(self) -> bool:
        """Its answers are not read: it gets no more calls until they are."""
        return bool(self._unsent)

    def step(self) -> None:
        """Run the next call, if there is one. Raises LetGo when the other end is gone."""
        try:
            self._run(*self._receive())
        except BlockingIOError:
            pass

    def flush(self) -> None:
        """Send what could not be sent. Raises LetGo."""
        unsent, self._unsent = self._unsent, deque()
        for message, descriptors in unsent:
            self._put(message, descriptors)
            for descriptor in descriptors:
                os.close(descriptor)

    def close(self) -> None:
        """The other end is gone: end its generators."""
        for number in list(self._streams):
            try:
                self._close_stream(number)
            except BaseException:
                _log.exception("a stream of %s did not end in order", type(self._instance).__qualname__)
        self._board.leave_seat(self._seat)
        self.channel.close()
        for _, descriptors in self._unsent:
            for descriptor in descriptors:
                os.close(descriptor)
        for arena in (self._arguments, self._results):
            if arena is not None:
                arena.close()

    # -- what is otherwise in an offloader

    def _await_message(self) -> tuple[int, list[int]]:
        try:
            return wire.receive(self._channel, self._room, wire.NOW)
        except BlockingIOError:
            raise
        except OSError as error:
            raise LetGo from error

    def _run(self, header: Header, stream: memoryview, lent: list[int]) -> bool:
        self._board.begin(time.monotonic())
        try:
            return super()._run(header, stream, lent)
        finally:
            self._board.end()

    def _do(self, header: Header, stream: memoryview, lent: list[int]) -> tuple[int, Payload, int]:
        if header.flags:
            return self._do_any(header, stream, lent)
        # Most calls are small, and what surrounds the others costs such a one a tenth of its way there and back.
        try:
            what, args, kwargs, about = self._loaded = pickle.loads(stream)
            if type(what) is not str:
                return self._do_any(header, stream, lent)
            if about is None:
                inside = copy_context()
            else:
                inside = context.make(about.variables)
                log.working_on(header.number, about.request)
            method = getattr(self._instance, what)
            if context.tracer is None or about is None:
                value = call_job(inside, method, args, kwargs)
            else:
                with context.tracer.running(inside, self._name + what, header.number):
                    value = call_job(inside, method, args, kwargs)
            reply = payload.encode_result(value, self._name + what)
            if reply.big:
                self._arena.check(reply, f"the result of {self._name}{what}")
            return wire.RESULT, reply, 0
        except BaseException as error:
            return wire.ERROR, self._failure(error), 0
        finally:
            self._loaded = None

    def _do_any(self, header: Header, stream: memoryview, lent: list[int]) -> tuple[int, Payload, int]:
        kind, reply, _ = super()._do(header, stream, lent)
        return kind, reply, 0  # an actor does not leave by itself

    def _load(self, header: Header, stream: memoryview) -> tuple[Any, tuple[Any, ...], dict[str, Any], About | None]:
        what, args, kwargs, about = self._loaded or super()._load(header, stream)
        if type(what) is str:
            return getattr(self._instance, what), args, kwargs, about
        verb, subject = what
        if verb == OPEN:
            return partial(self._open, header.number, getattr(self._instance, subject)), args, kwargs, about
        return partial(self._more if verb == MORE else self._close_stream, subject), args, kwargs, about

    def _run_start_hooks(self) -> None:
        """Those are for offloaders."""

    def _end_leftovers(self) -> None:
        """An actor keeps what it has started."""

    def _be_nice(self, nice: int) -> None:
        """It serves many."""

    def _spent(self) -> bool:
        return False

    def _put(self, message: bytes, descriptors: Sequence[int]) -> None:
        if not self._unsent:
            try:
                wire.send(self._channel, message, descriptors)
                return
            except BlockingIOError:
                pass
            except OSError as error:
                raise LetGo from error
        self._unsent.append((message, [os.dup(descriptor) for descriptor in descriptors]))

    # -- streams

    def _open(self, number: int, method: Any, *args: Any, **kwargs: Any) -> Page:
        found = method(*args, **kwargs)
        if not isinstance(found, Iterable):
            raise TypeError(f"{method.__qualname__} returned {type(found).__qualname__}; a stream needs a generator")
        items = iter(found)
        self._streams[number] = Stream(items, copy_context(), f"{method.__module__}.{method.__qualname__}")
        return self._more(number)

    def _more(self, number: int) -> Page:
        """What comes soon, at least one item. Each small one is pickled at once: its generator may change it."""
        stream = self._streams[number]
        pickles: list[bytes] = []
        until = time.monotonic() + PAGE_SECONDS
        try:
            while (item := stream.inside.run(next, stream.items, _END)) is not _END:
                whole = payload.encode_result(item, stream.name)
                if whole.big or whole.lent is not None:
                    self._arena.check(whole, f"an item of {stream.name}")
                    return Page(pickles, (item,), ended=False)
                pickles.append(whole.pickle)
                if len(pickles) >= PAGE_ITEMS or time.monotonic() >= until:
                    return Page(pickles, (), ended=False)
        except BaseException as error:
            self._close_stream(number)
            return Page(pickles, (), True, failures.take(error))
        del self._streams[number]
        return Page(pickles, (), ended=True)

    def _close_stream(self, number: int) -> None:
        stream = self._streams.pop(number, None)
        if stream is not None and hasattr(stream.items, "close"):
            stream.inside.run(stream.items.close)
