"""What a user is told of its actors, with a mold that is played by hand."""

import os
import selectors
from collections.abc import Iterator
from itertools import count

import pytest

from prefork.messages import ActorClosed, ActorGone, ActorReady, ActorUp, BeActor, LeaveActor, Message, Ready, WantActor
from prefork.processes.actors import Actors
from prefork.processes.owned import OwnedProcesses
from prefork.system.channel import Channel

NOBODY = 1 << 22  # no process has such a number (proc_sys_kernel(5): pid_max)
NOW = 100.0


class Site:
    """One user, and whatever it wants."""

    def __init__(self) -> None:
        self.owned = OwnedProcesses()
        self.selector = selectors.DefaultSelector()
        self.actors = Actors(self.owned, self.selector, count(1).__next__, self._order, 60.0)
        self.ours, self.user = Channel.pair()
        self.started: dict[int, Channel] = {}  # the channel of each process, by serial

    def say(self, message: Message) -> None:
        assert self.actors.obey(self.ours, 1, 0, message, [], NOW)
        self.actors.tick(NOW, 1)

    def start(self, serial: int) -> None:
        """Let one that was ordered become ready."""
        self.owned.forked(serial, NOBODY + serial, NOW)
        self.started[serial].send(Ready())
        for key, _ in self.selector.select(0):
            key.data()

    def reap(self, serial: int, status: int = 0) -> None:
        assert self.owned.reaped(NOBODY + serial, status)
        self.actors.tick(NOW, 1)

    def heard(self) -> list[Message]:
        found = []
        while received := self.user.receive():
            found.append(received[0])
            for descriptor in received[1]:
                os.close(descriptor)
        return found

    def _order(self, serial: int, slot: int | None, generation: int, descriptors: list[int]) -> bool:
        self.started[serial] = Channel.from_descriptor(os.dup(descriptors[0]))
        return True

    def close(self) -> None:
        for channel in (self.ours, self.user, *self.started.values()):
            channel.close()
        self.selector.close()


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.close()


def test_who_has_left_its_own_actor_hears_of_each_death_and_of_the_end(site: Site) -> None:
    """Each process is on the list of what the user's guard would kill, until then."""
    site.say(WantActor(7, "shop.Model", 2, shared=False, index=0))
    for serial in (1, 2):
        site.start(serial)
    ups = [ActorUp(7, serial, 0, NOBODY + serial) for serial in (1, 2)]
    assert site.heard() == [*ups, ActorReady(7)]
    received = site.started[1].receive()
    assert received is not None
    assert received[0] == BeActor("shop.Model", 0)
    for descriptor in received[1]:
        os.close(descriptor)
    site.say(LeaveActor(7))
    assert site.heard() == []
    site.reap(2)
    assert site.heard() == [ActorGone(7, 2, 0)]
    site.reap(1)
    assert site.heard() == [ActorGone(7, 1, 0), ActorClosed(7)]
