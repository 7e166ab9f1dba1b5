"""The calls of one event loop to one actor: jobs like those of offload, but to processes that others share and mind."""

import logging
from math import inf
from time import monotonic
from typing import Any, Final, Protocol

from prefork.children.actors.crew import ActorCrew, ActorHandle, Nobody
from prefork.children.actors.sessions import CLOSE, MORE, OPEN
from prefork.core.job import Event, State
from prefork.errors import Crashed
from prefork.jobs.crew import Spawner
from prefork.jobs.job import Job
from prefork.jobs.local import AHEAD_JOBS, AHEAD_SECONDS, RETRY_SECONDS, SLOW_SECONDS, LocalBackend
from prefork.jobs.offloaders import OffloaderHandle
from prefork.jobs.options import Terms
from prefork.jobs.payload import encode_call
from prefork.jobs.pool import Pool
from prefork.settings import Settings

AGAIN_SECONDS: Final = 1.0  # between two looks at a call that is to be ended, or at a process that may hang

_log = logging.getLogger("prefork.actors")

What = str | tuple[int, str | int]  # a method's name, or what is asked of a stream: see `sessions`


class Minder(Protocol):
    """Who starts and ends the processes of an actor."""

    def end(self, process: int, grace: float, began: float) -> None:
        """End one, with SIGKILL after `grace` seconds, if the call still runs that it has begun at `began`;
        0: if none runs."""


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
    log = _log
    backend: "ActorBackend"

    def __init__(self, settings: Settings, terms: Terms, count: int, minder: Minder, actor: str = "") -> None:
        """`count` processes, which `minder` ends."""
        self.terms = terms
        self.actor = actor
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
        traced = name if type(what) is str or what[0] == OPEN else ""  # a stream has one span, not one for each page
        about = self._about(self.terms, traced)
        payload = encode_call(what, name, args, kwargs, about)
        future = self.loop.create_future()
        call = Call(self, self.next_number(), name, payload, self.terms, self.deadline(self.terms), False, future)
        call.handle, call.bound = None, False
        if about is not None:
            call.request = about.request
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
        call.given_at = monotonic()
        self.queue.running += 1


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

    def _died_idle(self, handle: OffloaderHandle, status: int) -> None:
        """Whoever minds it tells, once for all who use it."""

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
        if job.state is State.TIMED_OUT and not handle.board.began:
            self._probe(handle, job.terms.grace)
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

    def _probe(self, handle: ActorHandle, grace: float) -> None:
        """A call was not begun in time, and none runs: it may be stopped, or hang where it runs no call."""
        if self.has(handle) and not handle.probed:
            handle.probed = True
            handle.send_read()  # something to read
            self._loop.call_later(AGAIN_SECONDS, self._end_if_hung, handle, handle.board.turns, grace)

    def _end_if_hung(self, handle: ActorHandle, turns: int, grace: float) -> None:
        handle.probed = False
        if self.has(handle) and handle.unread and not handle.board.began and handle.board.turns == turns:
            _log.warning("%s is ended: it has begun no call for %g s, and some wait", handle, AGAIN_SECONDS)
            handle.overdue = True
            self._minder.end(handle.number, grace, 0.0)

    # -- giving

    def _choose(self, job: Job) -> ActorHandle | None:
        average = self._pool.queue.average
        most = min(AHEAD_JOBS, int(AHEAD_SECONDS / average)) if average else 0
        best, least, better = None, (True, inf), False
        handles = list(self._handles.values())
        if len(handles) > 1:
            self._turn += 1
        for index in range(len(handles)):
            handle = handles[(self._turn + index) % len(handles)]
            count = len(handle.given)
            if handle.leaving:
                continue
            if handle.copying or (count and (count > most or handle.alone or handle.large or job.payload.big)):
                better = better or not handle.slow
                continue
            if len(handles) == 1:
                return handle
            load = handle.slow, handle.board.load
            if load < least:
                best, least = handle, load
        return None if least[0] and better else best

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
                self._loop.call_later(SLOW_SECONDS, self._look_for_stuck, self._turns())

    def _turns(self) -> dict[int, int]:
        """How many calls each process has begun."""
        return {handle.number: handle.board.turns for handle in self._handles.values() if not handle.leaving}

    def _look_for_stuck(self, before: dict[int, int]) -> None:
        """Take back what waits behind the call of another that was running at the last look, where a process has
        nothing to do, or goes on. What then waits in the queue is looked after too: nobody tells us when the calls of
        others are over."""
        now = self._turns()
        handles = [self._handles[number] for number in now]
        behind = [handle for handle in handles if handle.given and handle.board.load > len(handle.given)]
        held = [handle for handle in behind if before.get(handle.number) == now[handle.number] and not handle.copying]
        if any(not handle.board.load or before.get(handle.number) != now[handle.number] for handle in handles):
            for handle in held:
                handle.slow_turn = now[handle.number]
                self._take_back(handle)
        self.wake()
        self._looking = bool(behind or len(self._pool.queue))
        if self._looking:
            self._loop.call_later(SLOW_SECONDS, self._look_for_stuck, now)

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
