"""What the master holds of actors: no word to a user is lost while its channel is full, and no descriptor stays."""

import os

from prefork.messages import ActorGone, ActorReady, ActorUp, Message, Room
from prefork.processes.actor_handles import User
from prefork.system.channel import Channel


def read(channel: Channel) -> list[tuple[Message, list[int]]]:
    found = []
    while received := channel.receive():
        found.append(received)
    return found


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def test_what_does_not_fit_is_sent_later_in_order_and_with_its_descriptors() -> None:
    before = descriptors()
    ours, theirs = Channel.pair()
    user = User(ours, 1)
    while ours.send(Room()):
        pass
    readable, writable = os.pipe()
    user.tell(ActorUp(1, 2, 0, 4000), [writable])
    os.close(writable)
    user.tell(ActorReady(1))
    user.tell(ActorGone(1, 2, 9))
    user.flush()
    assert len(user.unsent) == 3
    assert {type(message) for message, _ in read(theirs)} == {Room}
    user.flush()
    assert not user.unsent
    (up, came), *others = read(theirs)
    assert [up, *(message for message, _ in others)] == [ActorUp(1, 2, 0, 4000), ActorReady(1), ActorGone(1, 2, 9)]
    os.write(came[0], b"through")
    assert os.read(readable, 10) == b"through"
    for descriptor in (readable, *came):
        os.close(descriptor)
    ours.close()
    theirs.close()
    assert descriptors() == before


def test_nothing_is_kept_for_one_that_is_gone_or_is_forgotten() -> None:
    before = descriptors()
    ours, theirs = Channel.pair()
    user = User(ours, 1)
    while ours.send(Room()):
        pass
    user.tell(ActorUp(1, 2, 0, 4000), [ours.fileno()])
    user.forget()
    assert not user.unsent
    theirs.close()
    user.tell(ActorUp(1, 2, 0, 4000), [ours.fileno()])
    assert not user.unsent
    ours.close()
    assert descriptors() == before
