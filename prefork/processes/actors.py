"""The processes of actors, on the side of the one who has them forked: started, connected, started again, let go.

Master and nursery both have this; what to do is decided in `core.actors`.
"""

import logging
import os
import selectors
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from math import inf
from typing import Final

from prefork.core import actors as planning
from prefork.core.actors import Fail, GiveUp, Group, LetGo, Place
from prefork.messages import (
    ActorClosed,
    ActorFailed,
    ActorGone,
    ActorReady,
    BeActor,
    BootFailed,
    EndActor,
    EndProcess,
    LeaveActor,
    Message,
    ProcessForked,
    ProcessGone,
    Ready,
    WantActor,
    WantProcess,
)
from prefork.metrics import ours
from prefork.processes.actor_handles import Actor, ActorProcess, User
from prefork.processes.owned import OwnedProcesses
from prefork.system import board, process
from prefork.system.channel import Channel, ChannelClosed

ROLE: Final = "actor"
CLOSE_SECONDS: Final = 5.0  # for the call in hand, and for `close()` of the class
GRACE_SECONDS: Final = 1.0  # between SIGTERM and SIGKILL for one that does not end by itself
BOOT_SHARE: Final = 0.8  # of the time that workers have to boot: they wait for actors, and this tells for which
RETRY_SECONDS: Final = 0.1  # nothing tells when a full channel is read

_log = logging.getLogger("prefork.actors")

# Has a process forked: order(serial, slot, generation, descriptors). The descriptors, its channel and its stacks file,
# stay ours. False: there is nobody to fork it now.
Order = Callable[[int, int | None, int, list[int]], bool]


class Actors:
    """All actors. It is the owner of their processes among those of `owned`, which orders, ends and reaps."""

    def __init__(
        self,
        owned: OwnedProcesses,
        selector: selectors.BaseSelector,
        next_serial: Callable[[], int],
        order: Order,
        boot_seconds: float,
    ) -> None:
        self._owned = owned
        self._selector = selector
        self._next_serial = next_serial
        self._order = order
        self._boot_seconds = boot_seconds * BOOT_SHARE
        self._actors: list[Actor] = []
        self._processes: dict[int, ActorProcess] = {}  # by serial

    def __iter__(self) -> Iterator[ActorProcess]:
        return iter(self._processes.values())

    # -- what users say

    def obey(
        self, channel: Channel, generation: int, slot: int | None, message: Message, descriptors: list[int], now: float
    ) -> bool:
        """Do what a user asks for. Returns whether it was about actors."""
        if isinstance(message, WantActor):
            self._want(channel, generation, slot, message, descriptors)
        elif isinstance(message, LeaveActor):
            for actor, user in self._used_through(channel, message.number):
                self._leave(actor, user)
                user.forget()
                if actor.group.shared:
                    user.tell(ActorClosed(user.number))
                else:
                    actor.leaver = user
        elif isinstance(message, EndActor):
            handle = self._processes.get(message.process)
            if handle is not None and board.began(handle.board) == message.began:
                reason = "its call takes too long" if message.began else "it takes no calls"
                _log.warning("%s is ended: %s", handle, reason)
                self._end(handle, message.grace, now)
        else:
            return False
        return True

    def user_gone(self, channel: Channel) -> None:
        """Whoever spoke through this channel is gone."""
        for actor, user in self._used_through(channel):
            self._leave(actor, user)
            user.forget()
        for actor in self._actors:
            if actor.leaver is not None and actor.leaver.channel is channel:
                actor.leaver.forget()
                actor.leaver = None

    def mold_gone(self, generation: int) -> None:
        """The mold of a generation has died; another is of another generation."""
        for actor in self._actors:
            if actor.group.generation == generation:
                actor.group.orphaned = True

    # -- what the loop asks

    def tick(self, now: float, wanted: int | None) -> None:
        """Do what is due. `wanted` as in `core.actors.plan`."""
        for actor in list(self._actors):
            for user in actor.users:
                user.flush()
            for step in planning.plan(actor.group, now, wanted, self._boot_seconds):
                if actor.group.ending:  # the last step could not be done
                    break
                if isinstance(step, LetGo):
                    self._let_go(actor, now)
                elif isinstance(step, Fail):
                    reason = "its processes have died, and so has the mold that could fork others"
                    _log.error("%s is gone: %s", actor, reason)
                    self._fail(actor, reason, now)
                elif isinstance(step, GiveUp):
                    self._give_up(step.place, now)
                else:
                    self._start(actor, step.place, now)
        for handle in self._processes.values():
            if handle.let_go_until is not None and now >= handle.let_go_until:
                handle.let_go_until = None
                _log.warning("%s did not end within %g s and is ended", handle, CLOSE_SECONDS)
                self._end(handle, GRACE_SECONDS, now)

    def deadlines(self, now: float) -> Iterator[float]:
        """When `tick` could next have something to do, should nothing happen before."""
        for actor in self._actors:
            yield from planning.deadlines(actor.group, self._boot_seconds)
            if any(user.unsent for user in actor.users):
                yield now + RETRY_SECONDS
        for handle in self._processes.values():
            if handle.let_go_until is not None:
                yield handle.let_go_until

    def kill_all(self, now: float) -> None:
        """End them all at once, also those that are not forked yet."""
        for handle in self._processes.values():
            self._end(handle, 0.0, now)

    # -- what `owned` tells their owner

    def tell(self, message: Message) -> None:
        handle = self._processes.get(message.number) if isinstance(message, ProcessForked | ProcessGone) else None
        if handle is None:
            return
        if isinstance(message, ProcessForked):
            handle.pid = message.pid
            self._introduce(handle)
        elif isinstance(message, ProcessGone):
            self._hear(handle)  # what it said last
            self._gone(handle, message, time.monotonic())

    # -- users

    def _used_through(self, channel: Channel, number: int | None = None) -> list[tuple[Actor, User]]:
        return [
            (actor, user)
            for actor in self._actors
            for user in actor.users
            if user.channel is channel and number in (None, user.number)
        ]

    def _want(
        self, channel: Channel, generation: int, slot: int | None, wanted: WantActor, descriptors: list[int]
    ) -> None:
        actor = self._shared(generation, wanted) if wanted.shared else None
        if actor is None:
            specs, descriptors[:] = [*descriptors], []
            group = Group(generation, wanted.shared, [Place() for _ in range(wanted.count)])
            actor = Actor(wanted.name, group, wanted.index, None if wanted.shared else slot, specs)
            self._actors.append(actor)
        user = User(channel, wanted.number)
        actor.users.append(user)
        actor.group.users += 1
        for handle in self._of(actor):
            if handle.introduced:
                self._connect(handle, user)
        self._tell_ready(actor)

    def _shared(self, generation: int, wanted: WantActor) -> Actor | None:
        """The one that others of this generation have asked for."""
        for actor in self._actors:
            group = actor.group
            if group.shared and not group.ending and group.generation == generation and actor.index == wanted.index:
                return actor
        return None

    def _leave(self, actor: Actor, user: User) -> None:
        actor.users.remove(user)
        actor.group.users -= 1
        for handle in self._of(actor):
            handle.seats.pop(user, None)

    def _connect(self, handle: ActorProcess, user: User) -> None:
        try:
            handle.connect(user)
        except OSError as error:  # out of descriptors, or it hangs: another life may do better
            _log.error("cannot connect to %s, which is ended: %s", handle, error)
            self._end(handle, GRACE_SECONDS, time.monotonic())

    def _tell_ready(self, actor: Actor) -> None:
        for user in actor.users:
            if actor.group.complete and not user.told_ready:
                user.told_ready = True
                user.tell(ActorReady(user.number))

    # -- processes

    def _of(self, actor: Actor) -> list[ActorProcess]:
        return [handle for handle in self._processes.values() if handle.actor is actor]

    def _start(self, actor: Actor, place: Place, now: float) -> None:
        serial = self._next_serial()
        try:
            handle = ActorProcess(actor, place, serial)
        except OSError as error:  # out of descriptors
            _log.error("cannot start a process of %s: %s", actor, error.strerror)
            place.backoff.died(None, now)
            return
        generation = actor.group.generation
        self._owned.add(serial, self, WantProcess(ROLE, serial), generation, now)
        self._processes[serial] = handle
        place.ordered(serial, now)
        handle.channel.send(BeActor(actor.name, actor.index), [handle.board, *actor.specs])
        self._selector.register(handle.channel, selectors.EVENT_READ, partial(self._hear, handle))
        ordered = self._order(serial, actor.slot, generation, [handle.theirs.fileno(), handle.stacks])
        handle.theirs.close()
        if not ordered:
            self._owned.not_forked(serial, f"there is no mold of generation {generation} to fork it from")

    def _hear(self, handle: ActorProcess) -> None:
        try:
            while received := handle.channel.receive():
                if isinstance(received[0], Ready):
                    handle.ready = True
                    self._introduce(handle)
                elif isinstance(received[0], BootFailed):
                    handle.failure = received[0].traceback
        except ChannelClosed:
            self._unregister(handle)  # death is told by waitpid
        except ValueError as error:
            _log.error("%s said what it cannot say and is killed: %s", handle, error)
            process.send_signal(handle.pid, signal.SIGKILL)

    def _introduce(self, handle: ActorProcess) -> None:
        """It has started, and it is known which process it is; the two come by different ways."""
        if not handle.introduced or handle.actor.group.ending:
            return
        handle.place.ready(time.monotonic())
        declared = handle.actor.index is not None  # others come and go, with a request perhaps
        _log.log(logging.INFO if declared else logging.DEBUG, "%s is ready", handle)
        for user in handle.actor.users:
            self._connect(handle, user)
        self._tell_ready(handle.actor)

    def _let_go(self, actor: Actor, now: float) -> None:
        """Let its processes end in order: each sees the end of its channel."""
        actor.group.ending = True
        for handle in self._of(actor):
            self._unregister(handle)
            handle.channel.close()
            handle.let_go_until = now + CLOSE_SECONDS
            if not handle.ready:
                self._end(handle, 0.0, now)  # its class is being made, and not needed
        self._forget_if_empty(actor)

    def _give_up(self, place: Place, now: float) -> None:
        assert place.process is not None
        handle = self._processes[place.process]
        place.ordered_at = inf  # once is enough
        handle.failure = handle.failure or f"it did not start within {self._boot_seconds:g} s"
        self._end(handle, GRACE_SECONDS, now)

    def _end(self, handle: ActorProcess, grace: float, now: float) -> None:
        self._owned.end(self, EndProcess(ROLE, handle.serial, grace), now)

    def _gone(self, handle: ActorProcess, news: ProcessGone, now: float) -> None:
        actor, place = handle.actor, handle.place
        del self._processes[handle.serial]
        for user in [*handle.seats, *([actor.leaver] if actor.leaver is not None else [])]:
            user.tell(ActorGone(user.number, handle.serial, news.status or 0, news.out_of_memory))
        self._unregister(handle)
        stack = handle.stack()
        handle.close()
        words = "" if news.status is None else process.exit_words(news.status)
        reason = handle.failure.rstrip() or news.reason or words
        if not handle.ready and stack:
            reason += "\n" + stack
        was_ready = place.ready_at is not None
        delay = place.died(now)
        if not actor.group.ending:
            how = "boot" if not was_ready else "out of memory" if news.out_of_memory else words
            ours.actor_exits.labels(actor.name, how).inc()
        if actor.group.ending:
            self._forget_if_empty(actor)
        elif not place.proven:
            # The traceback is told by those who need it: a worker that cannot boot, a caller.
            _log.error("%s cannot start: %s", actor, _last_line(handle.failure) or reason)
            self._fail(actor, reason, now)
        else:
            later = f"; it starts again in {delay:.1f} s" if delay and not actor.group.orphaned else ""
            _log.error("%s %s: %s%s", handle, "died" if was_ready else "did not start again", reason, later)

    def _fail(self, actor: Actor, reason: str, now: float) -> None:
        """It cannot start: whoever asks for it anew begins anew."""
        for user in list(actor.users):
            user.tell(ActorFailed(user.number, reason))
            self._leave(actor, user)
            if not actor.group.shared:
                actor.leaver = user
        self._let_go(actor, now)

    def _forget_if_empty(self, actor: Actor) -> None:
        if not actor.group.empty or actor not in self._actors:
            return
        self._actors.remove(actor)
        if actor.leaver is not None:
            actor.leaver.tell(ActorClosed(actor.leaver.number))
        for descriptor in actor.specs:
            os.close(descriptor)

    def _unregister(self, handle: ActorProcess) -> None:
        if handle.channel.fileno() >= 0 and handle.channel in self._selector.get_map():
            self._selector.unregister(handle.channel)


def _last_line(traceback: str) -> str:
    """What was raised."""
    return traceback.rstrip().rpartition("\n")[2]
