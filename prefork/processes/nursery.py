"""The nursery: forks and ends processes for a program that is not served by prefork. `python -m` runs it, clean.

It does what master and mold do for a worker: it imports the program's code, stays single-threaded, forks on order,
reaps, and ends what it has forked when its owner is gone.
"""

import importlib
import logging
import os
import pickle
import selectors
import signal
import sys
import time
from itertools import chain
from multiprocessing import spawn
from typing import Any, Final

from prefork.jobs import client, standalone
from prefork.messages import EndProcess, WantProcess, shorten
from prefork.processes.actors import Actors
from prefork.processes.mold import open_descriptors, warn_if_unsafe_to_fork
from prefork.processes.owned import OwnedProcesses
from prefork.processes.owned_start import OwnedStart
from prefork.processes.roles import ROLES
from prefork.settings import Settings
from prefork.system import log, named_memory, process
from prefork.system.channel import Channel, ChannelClosed
from prefork.system.signals import SignalQueue
from prefork.system.tracebacks import app_traceback

LONGEST_WAIT_SECONDS: Final = 60.0

_log = logging.getLogger("prefork.nursery")


class Nursery:
    """The loop."""

    def __init__(self, channel: Channel, settings: Settings, log_file: log.LogFile, failure: str) -> None:
        """`failure`: why the program's code cannot be imported, if it cannot."""
        self._channel = channel
        self._settings = settings
        self._log_file = log_file
        self._failure = failure
        self._owned = OwnedProcesses()
        self._serial = 0
        self._closed = False
        self._selector = selectors.DefaultSelector()
        self._actors = Actors(self._owned, self._selector, self._next_serial, self._order_actor, settings.boot_seconds)
        self._signals = SignalQueue([signal.SIGCHLD])
        self._selector.register(self._signals, selectors.EVENT_READ, self._reap)
        self._selector.register(channel, selectors.EVENT_READ, self._obey)

    def run(self) -> None:
        """Serve until the owner is gone, and everything it had."""
        while not self._closed or self._owned:
            now = time.monotonic()
            due = chain(self._owned.deadlines(), self._actors.deadlines(now))
            wake_at = min(due, default=now + LONGEST_WAIT_SECONDS)
            for key, _ in self._selector.select(max(0.0, wake_at - now)):
                key.data()
            self._owned.tick(time.monotonic())
            self._actors.tick(time.monotonic(), None)

    def _obey(self) -> None:
        try:
            while received := self._channel.receive():
                message, descriptors = received
                if isinstance(message, WantProcess):
                    self._fork(message, descriptors)
                elif isinstance(message, EndProcess):
                    self._owned.end(self._channel, message, time.monotonic())
                else:
                    self._actors.obey(self._channel, 0, None, message, descriptors, time.monotonic())
        except ChannelClosed:
            self._closed = True
            self._selector.unregister(self._channel)
            self._owned.end_owned(self._channel, time.monotonic())
            self._actors.user_gone(self._channel)

    def _fork(self, wanted: WantProcess, descriptors: list[int]) -> None:
        serial = self._next_serial()
        self._owned.add(serial, self._channel, wanted, 0, time.monotonic())
        self._fork_role(serial, wanted.role, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)

    def _order_actor(self, serial: int, slot: int | None, generation: int, descriptors: list[int]) -> bool:
        self._fork_role(serial, "actor", descriptors)
        return True

    def _fork_role(self, serial: int, role: str, descriptors: list[int]) -> None:
        """Fork a process of a role. `owned` knows it by its serial, and is told what becomes of it."""
        if self._failure:
            self._owned.not_forked(serial, self._failure)
            return
        try:
            channel, stacks = descriptors
            log_file = self._log_file.descriptor
            start = OwnedStart(role, self._settings, os.getpid(), channel, stacks, log_file)
            pid = os.fork()
            if pid == 0:
                try:
                    ROLES[role](start, _nothing)
                finally:
                    os._exit(1)  # never up into our own frames
            os.setpgid(pid, pid)
            self._owned.forked(serial, pid, time.monotonic())
        except OSError as error:  # the limit on processes, or memory
            self._owned.not_forked(serial, error.strerror or str(error))

    def _next_serial(self) -> int:
        self._serial += 1
        return self._serial

    def _reap(self) -> None:
        self._signals.drain()
        for pid, status in process.reap():
            self._owned.reaped(pid, status)


def _nothing() -> None:
    """What a process has to import when its nursery has imported the program."""


def import_program(preparation: dict[str, Any], modules: list[str]) -> str:
    """Import what the jobs will need: the main module, as multiprocessing does, then `modules`. Returns why that
    failed, or nothing."""
    before = open_descriptors()
    reason = (
        "while the nursery imports the program: put what starts it under `if __name__ == '__main__':`; the main module "
        "is imported here once more, by another name"
    )
    client.forbid(f"offload() {reason}")
    standalone.refuse(f"no child {reason}")
    try:
        spawn.prepare(preparation)
        for module in modules:
            importlib.import_module(module)
    except BaseException as error:
        return shorten(app_traceback(error))
    finally:
        standalone.refuse("")  # what is forked may have children of its own
    warn_if_unsafe_to_fork(before, native=False)
    return ""


def main() -> None:
    """Descriptors in the arguments: the channel, and a file with what we have to know."""
    channel_descriptor, start_descriptor = (int(word) for word in sys.argv[1:])
    with open(start_descriptor, "rb") as file:
        settings, preparation, modules, named = pickle.load(file)
    os.set_inheritable(channel_descriptor, False)
    named_memory.inherit(named)
    log_file = log.set_up(settings)
    log.identify("nursery")
    process.set_title(log.title("nursery"))
    process.become_subreaper()
    channel = Channel.from_descriptor(channel_descriptor)
    failure = import_program(preparation, modules)
    log.serve_root(log_file, settings)
    Nursery(channel, settings, log_file, failure).run()


if __name__ == "__main__":
    main()
