"""The calls of one event loop to one actor: jobs like those of offload, but to processes that others share and mind."""

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from math import inf
from typing import Any, Final, Protocol

from prefork.children.actors.sessions import CLOSE, MORE, OPEN
from prefork.core.job import Event, State
from prefork.errors import Crashed
from prefork.jobs.crew import Crew, Spawner
from prefork.jobs.job import Job
from prefork.jobs.local import AHEAD_JOBS, AHEAD_SECONDS, RETRY_SECONDS, SLOW_SECONDS, LocalBackend
from prefork.jobs.offloaders import OffloaderHandle
from prefork.jobs.options import Terms
from prefork.jobs.payload import encode_call
from prefork.jobs.pool import Pool
from prefork.messages import ActorUp
from prefork.settings import Settings
from prefork.system.board import Board

AGAIN_SECONDS: Final = 1.0  # between two looks at a call that is to be ended

_log = logging.getLogger("prefork.actors")

What = str | tuple[int, str | int]  # a method's name, or what is asked of a stream: see `sessions`


class Minder(Protocol):
    """Who starts and ends the processes of an actor."""

    def end(self, process: int, grace: float, began: float) -> None:
        """End one, with SIGKILL after `grace` seconds, if the call still runs that it has begun at `began`."""


class Nobody:
    """In the place of who forks offloaders for a pool: an actor's processes are there without it."""

    def __init__(self) -> None:
        self.on_forked: Callable[[int, int], None] = lambda number, pid: None
        self.on_gone: Callable[[int, int | None, bool, str], None] = lambda number, status, oom, reason: None

    def order(self, number: int, descriptors: list[int]) -> None:
        raise AssertionError("an actor's crew orders nobody")

    def end(self, number: int, grace: float) -> None:
        raise AssertionError("an actor's crew ends nobody")

    def close(self) -> None:
        """Nothing is ours."""


class ActorHandle(OffloaderHandle):
    """The record of one process of an actor. Others give it calls too: its board tells how many, and since when the one
    that runs has been running."""

    kind = "actor process"

    def __init__(self, up: ActorUp, descriptors: list[int]) -> None:
        """`descriptors` as they come with the message; they are ours from now on."""
        end, far, stacks, board = descriptors
        super().__init__(up.process, socket.socket(fileno=end), socket.socket(fileno=far), stacks)
        self.end.setblocking(False)
        self.pid = up.pid
        self.ready = True
        self.seat = up.seat
        self.overdue = False  # it is to be ended
        self.board = Board(board)
        os.close(board)

    def tell_load(self) -> None:
        """Let others see what it was given from here."""
        self.board.hold(self.seat, len(self.given))

    def close(self) -> None:
        super().close()
        self.board.close()


class Call(Job):
    """A call. One that goes on with a stream is `bound` to the process where that is."""

    __slots__ = ("bound", "handle")

    handle: ActorHandle | None  # to which it was given
    bound: bool


class Mailbox(Pool):
    """The calls that wait, and those that run."""

    what, one = "calls", "call"
    queue_setting = "mailbox"
    closing = "the actor is closed"
    backend: "ActorBackend"

    def __init__(self, settings: Settings, terms: Terms, count: int, minder: Minder) -> None:
        """`count` processes, which `minder` ends."""
        self.terms = terms
        super().__init__(settings, lambda pool: ActorBackend(self, minder, count))

    def call(self, what: What, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        """Accept a call. Raises QueueFull, Unsendable, OffloadError."""
        self.refuse_if_none_may_come(name, 0)
        call = self._make(what, name, args, kwargs)
        if not len(self.queue) and self.backend.give_at_once(call):
            return call
        self.queue.put(call)
        self.backend.wake()
        return call

    def open(self, method: str, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        """Accept the first call of a stream. Raises as `call` does."""
        return self.call((OPEN, method), name, args, kwargs)

    def more(self, opened: Call) -> Call:
        """Ask for the next items of a stream."""
        return self._go_on((MORE, opened.number), opened)

    def close_stream(self, opened: Call) -> None:
        """It is not wanted any more."""
        handle = opened.handle
        if handle is not None and self.backend.has(handle):
            self._go_on((CLOSE, opened.number), opened)

    def _make(self, what: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        payload = encode_call(what, name, args, kwargs, self._about(self.terms))
        future = self.loop.create_future()
        call = Call(self, self.next_number(), name, payload, self.terms, self.deadline(self.terms), False, future)
        call.handle, call.bound = None, False
        self.add(call)
        return call

    def _go_on(self, what: What, opened: Call) -> Call:
        """A call that no other process can take. It does not wait in the queue: only one a stream is on its way."""
        call = self._make(what, opened.name, (), {})
        call.handle, call.bound = opened.handle, True
        self.given(call)
        self.backend.give_bound(call)
        return call

    def given(self, call: Call) -> None:
        """A call runs that was not in the queue."""
        call.apply(Event.GIVEN)
        self.queue.running += 1


class ActorCrew(Crew):
    """The processes we know of. Who starts and lets them go is the one who minds them for all."""

    def grow(self, waiting: int, nice: int) -> None:
        """Their number is fixed."""

    def refill(self) -> None:
        """They are started again without us."""

    async def close(self) -> None:
        """They may live on: for others, or to end in order."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._empty = asyncio.Event()
        for handle in list(self.handles.values()):
            handle.leaving = True
            self._changed(handle)
            del self.handles[handle.number]
            handle.hang_up()
            if handle.copying:
                handle.when_copied = handle.close
            else:
                handle.close()
        self._spawner.close()


class ActorBackend(LocalBackend):
    """Gives calls to the least busy process, and ends one only when its call has run for too long."""

    _handles: dict[int, ActorHandle]  # type: ignore[assignment]

    def __init__(self, calls: Mailbox, minder: Minder, processes: int) -> None:
        super().__init__(calls, Nobody(), processes)
        self._calls = calls
        self._minder = minder
        self._turn = 0
        self._looking = False  # whether a call waits for nothing

    def _make_crew(self, spawner: Spawner) -> ActorCrew:
        return ActorCrew(self._settings, self._loop, spawner, self.processes, self._changed, self._cannot, self.wake)

    def has(self, handle: ActorHandle) -> bool:
        return self._handles.get(handle.number) is handle and not handle.leaving

    def numbers(self) -> list[int]:
        """Of the processes that are known."""
        return list(self._handles)

    def join(self, handle: ActorHandle) -> None:
        """A process is there."""
        self._handles[handle.number] = handle
        self._changed(handle)
        self._crew.rest(handle)
        self.wake()

    def give_at_once(self, call: Call) -> bool:
        """Give a small call to a process that can take it now. Most calls are such, and need no queue."""
        handle = None if call.payload.big else self._choose(call)
        if handle is None or not handle.send(call):
            return False
        handle.given[call.number] = call
        handle.alone = False
        call.handle = handle
        self._calls.given(call)
        self._look_after(handle)
        return True

    def give_bound(self, call: Call) -> None:
        """Give a call to the only process that can take it, behind what it does."""
        handle = call.handle
        if call.state is not State.RUNNING:
            return
        if handle is None or not self.has(handle):
            self._pool.died(call, Crashed(f"{call.name}: the process that has the stream is gone", "lost"))
            return
        handle.given[call.number] = call
        if not handle.send(call):
            del handle.given[call.number]
            self._loop.call_later(RETRY_SECONDS, self.give_bound, call)
        handle.tell_load()

    def gone(self, number: int, status: int | None, out_of_memory: bool, reason: str) -> None:
        handle = self._handles.get(number)
        if handle is not None and handle.overdue:
            handle.leaving = True  # as it was to be
        super().gone(number, status, out_of_memory, reason)

    def end(self, job: Job) -> None:
        handle = self._crew.holder(job)
        if handle is None:
            return
        assert isinstance(handle, ActorHandle)
        if handle.loading is job:
            del handle.given[job.number]  # it has not been sent
            return
        self._take_back(handle)
        self._end_if_long(handle, job)
        self.wake()

    def _end_if_long(self, handle: ActorHandle, job: Job) -> None:
        """A call is over for us, but it may be running. It is let run for as long as it may, for it may have waited
        behind others; then its process is ended: nothing else stops it."""
        if not self.has(handle):
            return
        began = handle.board.began  # before we look whether it has answered: so it is of this call, or of none before
        self._read(handle, drain=True)
        if job.number not in handle.given or not job.terms.timeout:
            return
        left = job.terms.timeout - (self._loop.time() - began if began else 0.0)
        if left > 0:
            self._loop.call_later(left, self._end_if_long, handle, job)
            return
        if not handle.overdue:
            _log.warning("%s is ended: %s has been running for more than %g s", handle, job.name, job.terms.timeout)
        handle.overdue = True
        self._minder.end(handle.number, job.terms.grace, began)
        self._loop.call_later(AGAIN_SECONDS, self._end_if_long, handle, job)  # should another call have begun by then

    # -- giving

    def _choose(self, job: Job) -> ActorHandle | None:
        average = self._pool.queue.average
        most = min(AHEAD_JOBS, int(AHEAD_SECONDS / average)) if average else 0
        best, least = None, inf
        handles = list(self._handles.values())
        if len(handles) > 1:
            self._turn += 1
        for index in range(len(handles)):
            handle = handles[(self._turn + index) % len(handles)]
            count = len(handle.given)
            if handle.leaving or handle.copying:
                continue
            if count and (count > most or handle.alone or handle.large or job.payload.big):
                continue
            if len(handles) == 1:
                return handle
            load = handle.board.load
            if load < least:
                best, least = handle, load
        return best

    def _give(self, handle: OffloaderHandle) -> bool:
        assert isinstance(handle, ActorHandle)
        head = self._pool.queue.peek()
        assert isinstance(head, Call)
        head.handle = handle
        given = super()._give(handle)
        self._look_after(handle)
        return given

    def _look_after(self, handle: ActorHandle) -> None:
        """It was given a call, which may have to wait there."""
        if len(handle.given) > 1 and not self._watching:
            self._watching = True
            self._loop.call_later(SLOW_SECONDS, self._look_for_slow, self._heads())
        if self.processes > 1:
            handle.tell_load()
            if not self._looking and handle.board.load > len(handle.given):
                self._looking = True
                self._loop.call_later(SLOW_SECONDS, self._look_for_stuck)

    def _look_for_stuck(self) -> None:
        """Take back what waits behind the calls of others, where a process has nothing to do."""
        busy = [handle for handle in self._handles.values() if handle.given and not handle.copying]
        stuck = [handle for handle in busy if handle.board.load > len(handle.given)]
        self._looking = bool(stuck)
        if not stuck:
            return
        if any(not handle.board.load and not handle.leaving for handle in self._handles.values()):
            for handle in stuck:
                self._take_back(handle)
            self.wake()
        self._loop.call_later(SLOW_SECONDS, self._look_for_stuck)

    def _take_back(self, handle: OffloaderHandle) -> None:
        for job in handle.take_back(self._room):
            assert isinstance(job, Call)
            if job.bound:
                self.give_bound(job)
            else:
                job.handle = None
                self._pool.put_back(job)
        assert isinstance(handle, ActorHandle)
        handle.tell_load()

    # -- hearing

    def _rest(self, handle: OffloaderHandle) -> None:
        if self.processes > 1:
            assert isinstance(handle, ActorHandle)
            if self.has(handle):
                handle.tell_load()
        super()._rest(handle)
