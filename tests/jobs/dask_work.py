"""Functions and an exception that jobs on a Dask cluster find here by name, as those of an app."""

import asyncio
import logging
import mmap
import os
import socket
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from prefork.jobs import context
from prefork.jobs.client import offload
from prefork.jobs.hooks import on_offload_start

tenant: ContextVar[str] = ContextVar("tests.dask.tenant")
context.carry(tenant)


class Refused(Exception):
    """Pickle alone could not make it anew: it needs two arguments."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason


def double(value: int, *, plus: int = 0) -> int:
    return 2 * value + plus


def refuse() -> None:
    raise Refused(7, "no")


def make_lock() -> Any:
    return threading.Lock()


def negate(values: Any) -> Any:
    values[0] = -values[0]
    return values


def visit(folder: str) -> int:
    """Wait at the test's gate."""
    with socket.socket(socket.AF_UNIX) as end:
        end.connect(folder + "/gate")
        end.recv(1)
    return os.getpid()


def say(what: str) -> int:
    logging.getLogger("shop").warning("%s for %s", what, tenant.get())
    return os.getpid()


def say_at_gate(what: str, folder: str) -> int:
    try:
        return visit(folder)
    finally:
        say(what)


def nest() -> int:
    async def within() -> int:
        return await offload(double, 1)

    return asyncio.run(within())


def three_steps() -> str:
    for step in (1, 2, 3):
        offload.progress(step / 3, f"step {step}")
    return "done"


def report_for_ever(folder: str) -> None:
    visit(folder)
    try:
        while True:
            offload.progress(0.5)
    finally:
        visit(folder)


def count_to(most: int) -> Iterator[int]:
    yield from range(most)


def count_and_fail(most: int) -> Iterator[int]:
    yield from range(most)
    raise Refused(8, "no more")


def count_lag(most: int, path: str) -> Iterator[int]:
    """How far each item is ahead of its reader, who writes in a file what it has read."""
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 8) as read:
        for sent in range(most):
            yield sent - int.from_bytes(read[:8], "little")


def count_for_ever(folder: str) -> Iterator[int]:
    try:
        number = 0
        while True:
            yield number
            number += 1
    finally:
        visit(folder)


_hooked = False


def hook() -> None:
    global _hooked
    _hooked = True


def add_hook() -> None:
    on_offload_start(hook)


def hooked() -> bool:
    return _hooked
