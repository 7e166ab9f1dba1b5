"""What the one who has actors forked holds of them: the actor, each of its processes, each event loop that uses it."""

import os
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Final

from prefork.core.actors import Group, Place
from prefork.messages import ActorSession, ActorUp, Message
from prefork.system import board
from prefork.system.channel import Channel, ChannelClosed, seqpacket_pair

STACK_BYTES: Final = 8 * 1024  # with the rest of the news it fits a message
_BELOW: Final = " in make_actor\n"  # the frames from there on are ours


@dataclass(eq=False)
class User:
    """An event loop that is connected to an actor, which it calls `number`."""

    channel: Channel
    number: int
    told_ready: bool = False  # or told why not
    unsent: deque[tuple[Message, list[int]]] = field(default_factory=deque)

    def tell(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Send a message with duplicates of descriptors; later, if its channel is full now."""
        self.unsent.append((message, [os.dup(descriptor) for descriptor in descriptors]))
        self.flush()

    def flush(self) -> None:
        while self.unsent:
            message, descriptors = self.unsent[0]
            with suppress(ChannelClosed):  # that it is gone is told elsewhere
                if not self.channel.send(message, descriptors):
                    return
            self.unsent.popleft()
            for descriptor in descriptors:
                os.close(descriptor)

    def forget(self) -> None:
        for _, descriptors in self.unsent:
            for descriptor in descriptors:
                os.close(descriptor)
        self.unsent.clear()


@dataclass(eq=False)
class Actor:
    """One actor: its group as planning knows it, and what is needed to start its processes."""

    name: str
    group: Group
    index: int | None
    slot: int | None  # of the worker whose it is
    specs: list[int]  # descriptors of its class and what that needs, if it came along; closed with the actor
    users: list[User] = field(default_factory=list)
    leaver: User | None = None  # waits for its end

    def __str__(self) -> str:
        generation = self.group.generation  # a nursery has none
        return f"actor {self.name}" + (f" (generation {generation})" if generation else "")


class ActorProcess:
    """What was reported of one process, and what we hold of it."""

    def __init__(self, actor: Actor, place: Place, serial: int) -> None:
        """Raises OSError."""
        self.actor = actor
        self.place = place
        self.serial = serial
        self.pid: int | None = None
        self.ready = False  # it has said so
        self.failure = ""  # why its class cannot be made
        self.let_go_until: float | None = None  # monotonic seconds
        self.seats: dict[User, int] = {}
        with ExitStack() as made:
            self.stacks = os.memfd_create("prefork-stacks", os.MFD_CLOEXEC)
            made.callback(os.close, self.stacks)
            self.board = board.create()
            made.callback(os.close, self.board)
            self.channel, self.theirs = Channel.pair()
            made.pop_all()

    def __str__(self) -> str:
        return f"{self.actor} process" + (f" {self.pid}" if self.pid else "")

    @property
    def introduced(self) -> bool:
        """Whether it can be connected."""
        return self.ready and self.pid is not None

    def connect(self, user: User) -> None:
        """Give a user a channel of its own to this process, and a seat on its board. Raises OSError."""
        taken = set(self.seats.values())
        seat = next(number for number in range(board.SEATS) if number not in taken)
        near, far = seqpacket_pair()
        try:
            if not self.channel.send(ActorSession(seat), [far.fileno()]):
                raise OSError("its channel is full")
            self.seats[user] = seat
            assert self.pid is not None
            ends = [near.fileno(), far.fileno(), self.stacks, self.board]
            user.tell(ActorUp(user.number, self.serial, seat, self.pid), ends)
        finally:
            near.close()
            far.close()

    def stack(self) -> str:
        """What its class was doing when it was ended or crashed before it had started, if faulthandler could tell."""
        text = os.pread(self.stacks, STACK_BYTES, 0).decode("utf-8", "replace")
        lines = text.partition(_BELOW)[0].splitlines()
        return "\n".join(lines[:-1]) if _BELOW in text else ""  # the last one is the beginning of ours

    def close(self) -> None:
        self.channel.close()
        os.close(self.stacks)
        os.close(self.board)
