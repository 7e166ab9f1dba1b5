"""The actor: a process that holds one instance of an app's class and runs its methods, one call at a time."""

import logging
import os
import pickle
import select
import time
from collections.abc import Callable
from typing import Any, Final, NoReturn

from prefork.children.actors import declared
from prefork.children.actors.sessions import Session
from prefork.errors import BootError
from prefork.jobs import client, payload
from prefork.jobs.lending import arriving
from prefork.jobs.runner import SPIN_SECONDS, LetGo
from prefork.messages import ActorSession, BeActor, BootFailed, Ready, shorten
from prefork.processes.owned_start import OwnedStart, begin_owned
from prefork.settings import Settings
from prefork.system import process
from prefork.system.board import Board
from prefork.system.channel import Channel, ChannelClosed, adopt
from prefork.system.tracebacks import app_traceback

_READ: Final = select.EPOLLIN

_log = logging.getLogger("prefork.actors")


def run_actor(start: OwnedStart, prepare: Callable[[], None]) -> NoReturn:
    """The life of an actor, in a fresh child. `prepare` imports what its class needs and is not there yet."""
    begin_owned(start)
    client.forbid("offload() within an actor: it has no event loop; call the function itself")
    channel = Channel.from_descriptor(start.channel)
    channel.set_blocking(True)
    code = 1
    try:
        code = _live(start, channel, prepare)
    except ChannelClosed:
        pass  # the server ends, or this actor is not needed any more
    finally:
        process.leave(code)


def _live(start: OwnedStart, channel: Channel, prepare: Callable[[], None]) -> int:
    """Returns the exit code."""
    received = channel.receive()
    assert received is not None
    order, (board, *spec) = received
    assert isinstance(order, BeActor)
    process.set_title(f"prefork actor {order.name}" + (f" g{start.generation}" if start.generation else ""))
    try:
        prepare()
        instance = _make(order, spec)
    except BaseException as error:
        channel.send(BootFailed(shorten(app_traceback(error))))
        return BootError.exit_code
    channel.send(Ready())
    channel.set_blocking(False)
    Loop(channel, start.settings, instance, Board(board)).run()
    return _close(instance)


def _make(order: BeActor, spec: list[int]) -> Any:
    """An instance of the class: one that the app has declared, or that came along. Raises what it raises."""
    if order.index is not None:
        found = declared.specs[order.index] if order.index < len(declared.specs) else None
        if found is None or found.name != order.name:
            raise RuntimeError(
                f"actor {order.name} is not what this process has as number {order.index}: the import of the app must "
                "declare the same actors in the same order each time"
            )
        return make_actor(found.cls, found.args, found.kwargs)
    with open(f"/proc/self/fd/{spec[0]}", "rb") as file:  # opened anew: the position is that of all who have it
        stream, buffers = pickle.load(file)
    os.close(spec[0])
    with arriving(spec[1:]):
        cls, args, kwargs, _ = payload.decode(stream, map(bytearray, buffers))
    return make_actor(cls, args, kwargs)


def make_actor(cls: type[Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run the app's code. Stacks are shown down to here."""
    return cls(*args, **kwargs)


def _close(instance: Any) -> int:
    """Let it end in order. Returns the exit code: 1 when that raised, which is logged."""
    close = getattr(instance, "close", None)
    if close is None:
        return 0
    try:
        close()
    except Exception:
        _log.exception("close() of %s failed", type(instance).__qualname__)
        return 1
    return 0


class Loop:
    """Takes the next call of each session in turn, until we are let go."""

    def __init__(self, channel: Channel, settings: Settings, instance: Any, board: Board) -> None:
        self._channel = channel
        self._settings = settings
        self._instance = instance
        self._board = board
        self._poll = select.epoll()
        self._poll.register(channel.fileno(), _READ)
        self._sessions: dict[int, Session] = {}  # by descriptor

    def run(self) -> None:
        """Returns when the channel is closed from the other side: sessions are ended then."""
        control = self._channel.fileno()
        try:
            while True:
                for descriptor, events in self._wait():
                    if descriptor == control:
                        self._obey()
                    elif descriptor in self._sessions:
                        self._serve(descriptor, self._sessions[descriptor], events)
        except ChannelClosed:
            for session in self._sessions.values():
                session.close()

    def _wait(self) -> list[tuple[int, int]]:
        """What can be read: awake for a while, then asleep (see `SPIN_SECONDS`)."""
        until = time.perf_counter() + SPIN_SECONDS
        while not (found := self._poll.poll(0)):
            if time.perf_counter() >= until:
                return self._poll.poll()
            os.sched_yield()
        return found

    def _obey(self) -> None:
        while received := self._channel.receive():
            order, descriptors = received
            if isinstance(order, ActorSession) and descriptors:
                end = adopt(descriptors[0])
                end.setblocking(False)
                self._sessions[end.fileno()] = Session(end, self._settings, self._instance, self._board, order.seat)
                self._poll.register(end.fileno(), _READ)

    def _serve(self, descriptor: int, session: Session, events: int) -> None:
        clogged = session.clogged
        try:
            if clogged:
                session.flush()
            elif events:
                session.step()
        except LetGo:
            self._poll.unregister(descriptor)
            del self._sessions[descriptor]
            session.close()
            return
        if session.clogged != clogged:
            self._poll.modify(descriptor, select.EPOLLOUT if session.clogged else _READ)
