"""The master's control side as one part: the socket, the commands behind it, and what they read."""

import logging
import os
import selectors
import time
from collections.abc import Callable, Iterator, Sequence

from prefork.control import address, place
from prefork.control.events import EventHandler, Events
from prefork.control.place import ControlPlace
from prefork.control.socket import ControlServer
from prefork.processes.commands import Commands, Master
from prefork.processes.descriptions import Descriptions
from prefork.processes.places import Places
from prefork.processes.snapshot import Snapshot
from prefork.processes.stack_dumps import StackDumps
from prefork.processes.supervisor import Supervisor
from prefork.processes.takeover import Predecessor
from prefork.settings import Settings
from prefork.system.log import LogFile

TAKE_OVER_SECONDS = 2.0  # for the old master to let go of its socket
AGAIN_SECONDS = 0.02

_log = logging.getLogger("prefork.control")


class Control:
    """Served by the master's loop."""

    def __init__(
        self,
        settings: Settings,
        target: str,
        addresses: Sequence[str],
        supervisor: Supervisor,
        places: Places,
        selector: selectors.BaseSelector,
        log_file: LogFile,
        master: Master,
    ) -> None:
        """`addresses` of the listeners. Nobody hears of it before `open`."""
        self._settings = settings
        self._supervisor = supervisor
        self._place = ControlPlace(settings.name or address.name_of(target))
        self._again: tuple[float, float] | None = None  # when to try once more to open, and until when
        self._dumps = StackDumps(supervisor.stacks)
        self._descriptions = Descriptions(supervisor.links)
        supervisor.workers.on_described = self._descriptions.hear
        self._events = Events()
        handler = EventHandler(self._events)
        handler.attach(log_file, settings.log_level)
        self.snapshot = Snapshot(settings, target, addresses, supervisor, places, master)
        self.commands = Commands(
            settings, target, supervisor, self.snapshot, handler, self._dumps, self._descriptions, master
        )
        self.server = ControlServer(selector, self.commands, self._changed)

    @property
    def name(self) -> str:
        """Of the server."""
        return self._place.name

    def open(self, taking_over: bool = False) -> None:
        """Claim the socket and listen. `taking_over`: an old master is about to let go of it."""
        now = time.monotonic()
        if taking_over:
            self._again = now, now + TAKE_OVER_SECONDS
            self._changed()
        else:
            self._serve(place.claim(self._settings.control, self._place.name, os.environ))

    def remember(self, predecessor: Predecessor | None) -> Callable[[], bytes]:
        """Go on from the events of the master before us, if there is one. Returns what dumps ours for the next."""
        if predecessor is not None:
            try:
                self._events.restore(predecessor.events)
            except ValueError as error:
                _log.warning("the events of master %d cannot be read: %s", predecessor.pid, error)
            predecessor.events = b""
        return self._events.dump

    def let_go(self) -> None:
        """Another master serves in our place, and wants the socket: connections that are open are served on."""
        self._again = None
        self.server.release()
        self._place.close()

    def tick(self, now: float) -> None:
        """Do what is due."""
        self.server.tick(now)
        self._dumps.tick(now)
        self._descriptions.tick(now)
        if self._again is not None and now >= self._again[0]:
            self._try_again(now, self._again[1])

    def deadlines(self, now: float) -> Iterator[float]:
        """When `tick` has something to do, should nothing happen before."""
        yield from self.server.deadlines()
        yield from self._dumps.deadlines(now)
        yield from self._descriptions.deadlines()
        if self._again is not None:
            yield self._again[0]

    def close(self) -> None:
        self.server.close()
        self._place.close()

    def _try_again(self, now: float, until: float) -> None:
        if now < until and place.is_taken(self._settings.control, self._place.name, os.environ):
            self._again = now + AGAIN_SECONDS, until
            return
        self._again = None
        self.open()

    def _serve(self, found: ControlPlace) -> None:
        self._place = found
        self.snapshot.name = found.name
        if found.listener is not None:
            self.server.listen(found.listener)
            self._changed()

    def _changed(self) -> None:
        self._supervisor.changed = True
