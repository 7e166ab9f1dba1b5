"""A program from its start until it is reaped, with its process group: its end, its death, and who waits for it."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple, TypeVar

from prefork.children.binding import bind
from prefork.children.home import Home
from prefork.children.programs.feeding import Fed
from prefork.children.programs.output import Pipe
from prefork.children.programs.starting import Argument, Streams, Surroundings, start
from prefork.errors import ChildError, ChildFailed, ChildNotStarted
from prefork.system import guard, process

REQUEST_OVER: Final = "the request that it belonged to is over"
LOOP_CLOSED: Final = "the event loop is closed"
STDERR_BYTES: Final = 4096  # the end of standard error that stands in ChildFailed

T = TypeVar("T")

_log = logging.getLogger("prefork.children")


class Ended(NamedTuple):
    """How a program ended: with a status, or by a signal; the other one is None."""

    status: int | None
    signal: int | None

    @property
    def words(self) -> str:
        """`exit status 3`, `signal SIGKILL`."""
        if self.signal is None:
            return f"exit status {self.status}"
        return process.exit_words(self.signal)


class Running:
    """One program. It looks after itself: whoever goes away, it is reaped as long as the loop runs."""

    def __init__(
        self,
        home: Home,
        argv: Sequence[Argument],
        surroundings: Surroundings,
        streams: Streams,
        bound: bool,
        on_gone: Callable[["Running"], None],
    ) -> None:
        """Start it. Raises ChildNotStarted."""
        self.name = os.fsdecode(argv[0])
        self.ended: Ended | None = None
        self.because = ""  # why it was ended, if it was: by the one who has no more use for it
        self.fault: Exception | None = None  # of what has fed it
        self.pipes: list[Pipe] = []
        self.input: Fed | None = None
        self.feeder: asyncio.Task[None] | None = None
        self.loop = home.loop
        self._grace = home.settings.children_grace_seconds
        self._on_gone = on_gone
        self._waiting: list[asyncio.Future[None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._process, self._place = start(argv, surroundings, streams)
        self.pid = self._process.pid
        try:
            self._death = os.pidfd_open(self.pid)
        except OSError as error:  # out of descriptors
            self._bury()
            raise ChildNotStarted(f"{self.name}: it cannot be watched: {error.strerror}") from None
        self.loop.add_reader(self._death, self._died)
        self._unbind = bind(self._request_over) if bound else _nothing

    def own(self, pipes: Sequence[Pipe], input: Fed | None) -> None:
        """Our ends of its streams, which it takes along."""
        self.pipes = list(pipes)
        self.input = input
        for pipe in pipes:
            pipe.on_end = self._tell

    @property
    def over(self) -> bool:
        """Whether it is reaped, and nothing more comes from it."""
        return self.ended is not None and all(pipe.ended for pipe in self.pipes)

    async def wait_gone(self) -> Ended:
        """Until it is reaped."""
        while self.ended is None:
            await self._news()
        return self.ended

    async def wait_over(self) -> Ended:
        """Until it is reaped and its output has come."""
        while self.ended is None or not self.over:
            await self._news()
        return self.ended

    def send_signal(self, number: int) -> None:
        """To its group, unless it is gone."""
        if self.ended is None:
            _signal(self.pid, number)

    def end(self, because: str = "") -> None:
        """SIGTERM to its group, and SIGKILL after the grace. `because` is kept: of the first one who says so."""
        if self.ended is not None or self._timer is not None:
            return
        self.because = because
        _signal(self.pid, signal.SIGTERM)
        _signal(self.pid, signal.SIGCONT)  # one that is stopped would not see it
        self._timer = self.loop.call_later(self._grace, self.send_signal, signal.SIGKILL)

    def input_failed(self, error: Exception) -> None:
        """Where its input comes from has raised: it has not had all, and is ended."""
        self.fault = error
        self.end("its input failed")

    def check_whole(self) -> None:
        """Raise what speaks against taking its output for whole: its input failed, or it was ended by us, and not at
        its user's wish."""
        if self.fault is not None:
            raise self.fault
        if self.because in (REQUEST_OVER, LOOP_CLOSED):
            raise ChildError(f"{self.name} was ended: {self.because}")

    def abandon(self) -> None:
        """Nobody can reach it any more."""
        self.end("nobody refers to it")
        for pipe in self.pipes:
            pipe.drop()

    # -- its death

    def _died(self) -> None:
        self.loop.remove_reader(self._death)
        os.close(self._death)
        self._unbind()
        if self._timer is not None:
            self._timer.cancel()
        self._bury()
        if self.input is not None and not self.input.closed:
            self.input.close()
            if self.feeder is not None:
                self.feeder.cancel()
        for pipe in self.pipes:
            self._take_rest(pipe)
        self._tell()
        self._on_gone(self)

    def _bury(self) -> None:
        """Kill what is left of its group, then reap it. In this order: as long as the leader is a zombie, nobody else
        can have the group's number (setpgid(2))."""
        _signal(self.pid, signal.SIGKILL)
        guard.forget(self._place)
        code = self._process.wait()
        self.ended = Ended(code, None) if code >= 0 else Ended(None, -code)

    def _take_rest(self, pipe: Pipe) -> None:
        """What it has written has an end, once the kernel has ended what we have killed; unless a process that has left
        the group still holds the pipe, which is not waited for."""
        pipe.read_on()
        if not pipe.ended:
            self.loop.call_later(self._grace, pipe.finish)

    # -- who waits

    def _request_over(self) -> None:
        self.end(REQUEST_OVER)

    def _tell(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def _news(self) -> None:
        waiter = self.loop.create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        finally:
            self._waiting.remove(waiter)


class Programs:
    """The programs of a home."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._running: set[Running] = set()
        self._turn = asyncio.Lock()
        home.on_close.append(self.close)

    @property
    def running(self) -> Iterable[Running]:
        return self._running

    async def start(self, make: Callable[[], T]) -> T:
        """Start one by calling `make`, which calls `run`, once there is a place for it. Raises ChildrenBusy,
        ChildNotStarted, and ChildError when its loop is closed meanwhile."""
        await self._home.places.take()
        try:
            # A start holds the loop up for half a millisecond. One a turn of it: what else there is comes between.
            await self._turn.acquire()
            self._home.loop.call_soon(self._turn.release)
            if self._home not in _programs:  # closed while it waited
                raise ChildError(f"it was not started: {LOOP_CLOSED}")
            return make()
        except BaseException as error:
            self._home.places.free()
            if isinstance(error, OSError):
                raise ChildNotStarted(f"its streams cannot be made: {error.strerror}") from None
            raise

    def run(self, argv: Sequence[Argument], surroundings: Surroundings, streams: Streams, bound: bool) -> Running:
        """Start one now. Raises ChildNotStarted."""
        running = Running(self._home, argv, surroundings, streams, bound, self._gone)
        self._running.add(running)
        return running

    async def close(self) -> None:
        """End them all, and wait for that."""
        del _programs[self._home]
        for running in list(self._running):
            running.end(LOOP_CLOSED)
        for running in list(self._running):
            await running.wait_gone()
            for pipe in running.pipes:
                pipe.close()

    def _gone(self, running: Running) -> None:
        self._running.discard(running)
        self._home.places.free()


def check_ended(running: Running, ended: Ended, stderr: bytes, encoding: str | None = None) -> None:
    """Raise ChildFailed unless it ended with status 0."""
    if ended.status != 0:
        end = stderr[-STDERR_BYTES:]
        said = end.decode(errors="replace").strip().rpartition("\n")[2]
        reason = f"{running.name}: {ended.words}{f': {said}' if said else ''}"
        raise ChildFailed(reason, *ended, end if encoding is None else end.decode(encoding, "replace"))


_programs: Final[dict[Home, Programs]] = {}


def programs_of(home: Home) -> Programs:
    """Those of a home."""
    found = _programs.get(home)
    if found is None:
        found = _programs[home] = Programs(home)
    return found


def running_in(home: Home) -> Iterable[Running]:
    """The programs that run there."""
    found = _programs.get(home)
    return () if found is None else tuple(found.running)


def _signal(leader: int, number: int) -> None:
    try:
        process.end_group(leader, number)
    except PermissionError:
        _log.warning("process group %d runs as another user and is not ours to end", leader)


def _nothing() -> None:
    """It is bound to nobody."""
