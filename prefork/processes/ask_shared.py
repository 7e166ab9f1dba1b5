"""Ask the master for memory by name, while the app is imported: the import waits for the answer."""

import select
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from prefork.messages import Message, Shared, WantShared
from prefork.system import named_memory
from prefork.system.channel import Channel
from prefork.system.named_memory import NoSuchMemory


@contextmanager
def asking(channel: Channel) -> Iterator[None]:
    """Within it, the master is asked for names that are not known; after it, nobody, here and in what is forked."""
    named_memory.ask_from_now_on(partial(_ask, channel))
    try:
        yield
    finally:
        named_memory.ask_from_now_on(named_memory.refuse)


def learn(message: Shared, descriptors: list[int]) -> None:
    """The master tells of memory that a worker has asked for. The descriptors stay the caller's."""
    if descriptors:
        named_memory.learn(message.name, message.size, descriptors[0])


def _ask(channel: Channel, name: str, size: int) -> int:
    """The descriptor for a name. Raises NoSuchMemory with the master's reason, ChannelClosed when it is gone."""
    while not channel.send(WantShared(name, size)):
        _wait(channel, select.POLLOUT)
    others: list[tuple[Message, list[int]]] = []
    try:
        while True:
            received = channel.receive()
            if received is None:
                _wait(channel, select.POLLIN)
                continue
            message, descriptors = received
            if isinstance(message, Shared) and message.name == name:
                return _taken(message, descriptors)
            others.append(received)
    finally:
        channel.put_back(others)


def _taken(answer: Shared, descriptors: list[int]) -> int:
    if answer.reason:
        raise NoSuchMemory(answer.reason)
    if not descriptors:
        raise NoSuchMemory(f"shared memory {answer.name!r} did not arrive: too many open files")
    return descriptors[0]


def _wait(channel: Channel, event: int) -> None:
    poll = select.poll()
    poll.register(channel.fileno(), event)
    poll.poll()
