"""What the tests fork."""

import asyncio
import ctypes
import functools
import os
import signal
import socket
import sys
import threading
from typing import Any

from prefork.children import WithFds, parent


class Peculiar(Exception):
    """Has a state of its own."""

    def __init__(self, number: int) -> None:
        super().__init__(f"number {number}")
        self.number = number


def echo() -> None:
    for message in parent:
        parent.send(message)


async def echo_async() -> None:
    async for message in parent:
        await parent.asend(message)


def plain_def(function: Any) -> Any:
    """As decorators do: what comes out is a `def`."""

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        return function(*args)

    return call


@plain_def
async def decorated() -> None:
    await parent.asend("ran")


def who(*args: Any) -> None:
    parent.send(
        {
            "pid": os.getpid(),
            "group": os.getpgid(0),
            "args": args,
            "threads": threading.active_count(),
            "fresh": "prefork.processes.fresh" in sys.orig_argv,
        }
    )


def count(upto: int) -> None:
    for number in range(upto):
        parent.send(number)


def flood(size: int) -> None:
    number = 0
    while True:
        parent.send((number, bytes(size)))
        number += 1


def read_nothing() -> None:
    parent.send("here")
    signal.pause()


def boom(number: int) -> None:
    parent.send("before")
    raise Peculiar(number)


async def boom_async(number: int) -> None:
    await parent.asend("before")
    raise Peculiar(number)


def crash() -> None:
    parent.send("before")
    ctypes.string_at(0)


def leave(status: int) -> None:
    parent.send("before")
    sys.exit(status)


def leave_at_once(status: int) -> None:
    os._exit(status)


async def read_in_a_group() -> None:
    async def read() -> None:
        while True:
            await parent.areceive()

    async with asyncio.TaskGroup() as group:
        group.create_task(read())
        group.create_task(read())


def disconnect() -> None:
    parent.send("before")
    parent.disconnect()
    signal.pause()


def close_channel() -> None:
    """As code does that closes all it does not know."""
    os.closerange(3, 1000)
    signal.pause()


def ignore_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    parent.send("here")
    while True:
        signal.pause()


def fork_grandchild() -> None:
    """One that outlives its parent, and holds the channel open."""
    pid = os.fork()
    if pid == 0:
        signal.pause()
    parent.send(pid)
    for _ in parent:
        os._exit(7)


def write_to_pipes() -> None:
    """Writes into each pipe or socket that comes, and sends one of its own."""
    for message in parent:
        assert isinstance(message, WithFds)
        for descriptor in message.take():
            os.write(descriptor, b"hello")
            os.close(descriptor)
        one, other = socket.socketpair()
        other.sendall(b"and back")
        other.close()
        parent.send(message.message, fds=[one])
        one.close()


async def answer_beside_a_task(times: int) -> None:
    """Other tasks run while it waits for messages."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    for _ in range(times):
        await parent.asend(await parent.areceive())
    task.cancel()
    await parent.asend({"turned": turns > 0})


def change(buffer: Any) -> None:
    """Write into shared memory that was an argument, then into what comes."""
    buffer.view[0] = 1
    parent.send("written")
    for message in parent:
        message.view[1] = 2
        parent.send("written")


def generate() -> Any:
    yield 1


not_callable = 3
