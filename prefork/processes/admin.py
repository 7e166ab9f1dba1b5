"""The admin: a child of the master that serves probes, metrics and the dashboard (--admin). It runs no app code."""

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from typing import Final, NoReturn

import uvloop

from prefork.apps.native import AppApplication
from prefork.control.async_client import AsyncClient, Silent
from prefork.control.entry import Entry
from prefork.control.exposition import Exposition
from prefork.control.history import History
from prefork.control.probes import SILENT_SECONDS
from prefork.control.site import make_site
from prefork.control.status import ServerStatus
from prefork.control.view import View
from prefork.http.service import Service
from prefork.messages import LogLevel, LookAgain, ReopenLogs
from prefork.processes.accepting import Acceptor
from prefork.processes.child import begin_kept
from prefork.processes.no_recorder import NoRecorder
from prefork.processes.places import NOWHERE, adopt
from prefork.processes.room import make_room
from prefork.processes.start import AdminStart
from prefork.settings import Address, Settings, TcpAddress, parse_admin
from prefork.system import log, process
from prefork.system.channel import Channel, ChannelClosed
from prefork.system.ledger import Ledger
from prefork.system.offspring import offspring
from prefork.system.ring import Ring
from prefork.system.seldom import Seldom
from prefork.system.usage import tree

CONNECTIONS: Final = 512  # at once; what is more waits in the kernel, and idle ones make room for it
MADE_ROOM: Final = 64  # connections closed at a time for that; a full backlog is two of these
DRAIN_SECONDS: Final = 1.0  # for open requests, when all others are gone; the master waits somewhat longer

# Of our own HTTP, whatever the app is served with.
SETTINGS: Final = Settings(keep_alive_seconds=30.0, header_seconds=10.0, body_seconds=10.0, max_body=64 * 1024)

_log = logging.getLogger("prefork.admin")


def run_admin(start: AdminStart, channel: Channel, stacks: int) -> NoReturn:
    """The life of the admin, in a fresh child of the master."""
    others = [channel.fileno(), start.log_file.descriptor, start.history]
    others += [] if start.ledger is None else [start.ledger]
    others += [listener.fileno() for listener in start.listeners]
    others += [end.fileno() for end in start.ends]
    begin_kept("admin", start.settings, start.master, stacks, others)
    adopt(None, NOWHERE)
    code = 0
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(Admin(start, channel).run())
        except Silent as error:
            _log.error("%s", error)
            code = 1
    process.leave(code)


class Admin:
    """From the first look at the server until the master lets go of us."""

    def __init__(self, start: AdminStart, channel: Channel) -> None:
        self._start = start
        self._channel = channel

    async def run(self) -> None:
        """Serve until the end. Raises Silent when the master does not talk to us any more."""
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        asker, *others = [await AsyncClient.connect(end) for end in self._start.ends]
        history = History(Ring(self._start.history))
        self._view = View(asker, others, history, self._expose(), lambda pid: tree([pid, *offspring(pid)]))
        entry = Entry(self._start.settings.admin_token, self._addresses())
        app = AppApplication(make_site(self._view, entry), SETTINGS)
        self._service = Service(app.__call__, SETTINGS, NoRecorder())
        self._tell_full = Seldom(_log, logging.WARNING)
        self._acceptor = Acceptor(self._start.listeners, self._connect, self._has_room, _log)
        loop.add_reader(self._channel.fileno(), self._read_orders)
        self._tick()
        watching = loop.create_task(self._view.watch())
        # First things first: a fresh admin would say of a server that is ready that it boots.
        seen = loop.create_task(self._view.seen.wait())
        await asyncio.wait({seen, watching, self._ended}, timeout=SILENT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        self._acceptor.start()
        await asyncio.wait({watching, self._ended}, return_when=asyncio.FIRST_COMPLETED)
        await self._drain()
        if not self._ended.done():
            await watching

    def _expose(self) -> Callable[[bool, ServerStatus | None], bytes] | None:
        if self._start.ledger is None:
            return None
        exposition = Exposition(Ledger(self._start.ledger))
        return lambda openmetrics, status: exposition.text(openmetrics, status, time.monotonic())

    def _addresses(self) -> list[Address]:
        """What we listen on, in the words of the setting and as it is bound."""
        families = (socket.AF_INET, socket.AF_INET6)
        sockets = [listener.socket for listener in self._start.listeners]
        bound = [TcpAddress(*end.getsockname()[:2]) for end in sockets if end.family in families]
        return [parse_admin(self._start.settings.admin or ""), *bound]

    def _tick(self) -> None:
        asyncio.get_running_loop().call_later(self._service.sweep_seconds, self._tick)
        self._service.sweep()
        if self._acceptor.resting and not self._has_room():
            closed = make_room(self._service.connections, MADE_ROOM)
            self._tell_full(f"{CONNECTIONS} connections are open and more come: {closed} idle ones are closed")
        self._acceptor.tick()

    def _has_room(self) -> bool:
        return len(self._service.connections) + len(self._acceptor.arriving) < CONNECTIONS

    async def _connect(self, end: socket.socket, index: int) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: self._service.connection(index), end)
        except OSError as error:
            end.close()
            _log.debug("a connection was gone before it was opened: %s", error)

    def _read_orders(self) -> None:
        try:
            while received := self._channel.receive():
                if isinstance(received[0], LookAgain):
                    self._view.hurry()
                elif isinstance(received[0], ReopenLogs):
                    self._start.log_file.reopen()
                elif isinstance(received[0], LogLevel):
                    log.set_level(self._start.log_file, received[0].level)
        except ChannelClosed:
            asyncio.get_running_loop().remove_reader(self._channel.fileno())
            if not self._ended.done():
                self._ended.set_result(None)

    async def _drain(self) -> None:
        """Finish open requests, and leave what nobody has accepted to whoever listens next."""
        self._acceptor.stop()
        empty = asyncio.Event()
        self._service.on_empty = empty.set
        self._service.drain(None)
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                await empty.wait()
        except TimeoutError:
            self._service.cut()
