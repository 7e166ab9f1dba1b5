"""The mold: imports the app once, freezes it, and then only forks, on the master's order. No loop, no threads."""

import gc
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import NoReturn

from msgspec import structs

from prefork.apps.application import Application
from prefork.errors import BootError, UsageError
from prefork.messages import (
    BootFailed,
    Fork,
    Forked,
    ForkProcess,
    LogLevel,
    MoldReady,
    NotForked,
    ReopenLogs,
    Shared,
    shorten,
)
from prefork.processes.app import make_app
from prefork.processes.ask_shared import asking, learn
from prefork.processes.owned_start import OwnedStart
from prefork.processes.places import NOWHERE, adopt
from prefork.processes.roles import ROLES
from prefork.processes.start import MoldStart, WorkerStart
from prefork.processes.surroundings import change_folder, drop, fill_environment
from prefork.processes.worker import run_worker
from prefork.system import log, process
from prefork.system.channel import Channel, ChannelClosed
from prefork.system.tls import Certificates
from prefork.system.tracebacks import app_traceback

_log = logging.getLogger("prefork.mold")


def run_mold(start: MoldStart, channel: Channel, stacks: int) -> NoReturn:
    """The life of a mold, in a fresh child of the master."""
    process.die_with_parent(start.master)
    process.become_child()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a service manager tells the whole group; the master decides
    kept = [channel.fileno(), stacks, start.log_file.descriptor]
    process.close_descriptors_except(kept if start.ledger is None else [*kept, start.ledger])
    adopt(None, NOWHERE)
    log.identify("mold", generation=start.generation)
    process.set_title(log.title("mold", generation=start.generation))
    process.watch_stacks(stacks)
    channel.set_blocking(True)
    app: Application | None = None
    try:
        change_folder(start.settings)
        fill_environment(start.settings)
        if start.settings.tls_cert:
            start = replace(start, certificates=Certificates(start.settings))
        drop(start.settings)  # root has read what only root may
        process.die_with_parent(start.master)
        with asking(channel):
            before = open_descriptors()
            if start.settings.preload:
                app = make_app(start)
        if app is not None:
            log.serve_root(start.log_file, start.settings)
            warn_if_unsafe_to_fork(before)
    except UsageError as error:
        channel.send(BootFailed(str(error), usage=True))
        process.leave(UsageError.exit_code)
    except BaseException as error:
        channel.send(BootFailed(shorten(app_traceback(error))))
        process.leave(BootError.exit_code)
    gc.collect()
    gc.freeze()
    try:
        channel.send(MoldReady())
        _serve(start, app, channel, stacks)
    except ChannelClosed:
        process.leave(0)


def _serve(start: MoldStart, app: Application | None, channel: Channel, stacks: int) -> NoReturn:
    while True:
        received = channel.receive()
        if received is None:
            continue
        order, descriptors = received
        if isinstance(order, ReopenLogs):
            start.log_file.reopen()
        elif isinstance(order, LogLevel):
            log.set_level(start.log_file, order.level)
            start = replace(start, settings=structs.replace(start.settings, log_level=order.level))
        elif isinstance(order, Shared):
            learn(order, descriptors)
        elif isinstance(order, Fork):
            become = partial(run_worker, WorkerStart(start, order, descriptors), app)
            _fork(order.serial, start, channel, stacks, become)
        elif isinstance(order, ForkProcess):
            its = OwnedStart(
                order.role,
                start.settings,
                start.master,
                channel=descriptors[0],
                stacks=descriptors[1],
                log_file=start.log_file.descriptor,
                slot=order.slot,
                generation=start.generation,
                ledger=start.ledger,
                place=order.place,
            )
            prepare = partial(_import_late, start) if app is None else app.offloader
            _fork(order.serial, start, channel, stacks, partial(ROLES[order.role], its, prepare), leads=True)
        for descriptor in descriptors:
            os.close(descriptor)


def _import_late(start: MoldStart) -> None:
    """Without preload, such a process imports the app itself, as workers do."""
    make_app(start).offloader()
    log.serve_root(start.log_file, start.settings)


def _fork(
    serial: int, start: MoldStart, channel: Channel, stacks: int, become: Callable[[], NoReturn], leads: bool = False
) -> None:
    """Fork twice: the process between reports the new one and ends, and the master, a subreaper, adopts that.

    One that `leads` has a process group of its own by the time it is reported.
    """
    try:
        between = os.fork()
    except OSError as error:  # the limit on processes, or memory
        channel.send(NotForked(serial, error.strerror or str(error)))
        return
    if between:
        os.waitpid(between, 0)
        return
    try:
        us = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            channel.send(NotForked(serial, error.strerror or str(error)))
            os._exit(1)
        if pid:
            if leads:
                with suppress(OSError):  # it has died already
                    os.setpgid(pid, pid)
            channel.send(Forked(serial, pid))
            os._exit(0)
        channel.close()
        os.close(stacks)
        process.wait_for_adoption(start.master, us)
        become()
    finally:
        os._exit(1)  # never up into the mold's frames


def warn_if_unsafe_to_fork(before: set[int], native: bool = True) -> None:
    """Name what the import has left behind that forked workers cannot share: threads, sockets, event loops.

    `before` holds the descriptors that were open before the import. Without `native`, only Python's own threads count:
    those of OpenBLAS, which NumPy starts, see to themselves when we fork.
    """
    names = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    foreign = len(os.listdir("/proc/self/task")) - 1 - len(names) if native else 0
    if foreign > 0:
        names.append(f"{foreign} started by native code")
    if names:
        _log.warning(
            "importing the app started threads (%s): they will not exist in the workers, and a lock that one holds "
            "stays locked there; start them in on_startup, or use --no-preload",
            ", ".join(names),
        )
    shared = [words for descriptor in sorted(open_descriptors() - before) if (words := _describe(descriptor))]
    if shared:
        _log.warning(
            "importing the app left open %s: all workers would share it; open it in on_startup, or use --no-preload",
            ", ".join(shared),
        )


def open_descriptors() -> set[int]:
    """What this process has open."""
    names = os.listdir("/proc/self/fd")  # among them the one it took to list them, which is closed again
    return {int(name) for name in names if os.path.lexists(f"/proc/self/fd/{name}")}


def _describe(descriptor: int) -> str | None:
    """A socket or event loop in words; None for what can be shared."""
    try:
        kind = os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return None
    if kind == "anon_inode:[eventpoll]":
        return "an event loop (epoll)"
    if not kind.startswith("socket:"):
        return None
    with socket.socket(fileno=os.dup(descriptor)) as found:
        for where, words in ((found.getpeername, "a connection to"), (found.getsockname, "a socket at")):
            try:
                address = where()
            except OSError:
                continue
            if address:
                text = ":".join(str(part) for part in address[:2]) if isinstance(address, tuple) else str(address)
                return f"{words} {text}"
        return f"a socket ({found.family.name})"
