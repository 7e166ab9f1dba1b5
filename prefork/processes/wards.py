"""What a worker has had forked, and its guard kills when the master is gone: nobody else would end what they started.

While the master lives it does that itself, and gives them their time: also when their worker has died.
"""

import logging
import os
from typing import Final

from prefork.messages import ActorGone, ActorUp, Message, ProcessForked, ProcessGone
from prefork.system import guard

_log: Final = logging.getLogger("prefork.wards")


class Wards:
    """Kept up to date with what the master says."""

    def __init__(self) -> None:
        self._master = os.getppid()
        self._places: dict[tuple[str, int], int] = {}  # in the guard's table, by role and number

    def hear(self, message: Message) -> None:
        """What may be about one of them."""
        if isinstance(message, ProcessForked):
            self._add(message.role, message.number, message.pid)
        elif isinstance(message, ProcessGone):
            self._remove(message.role, message.number)
        elif isinstance(message, ActorUp):
            self._add("actor", message.process, message.pid)
        elif isinstance(message, ActorGone):
            self._remove("actor", message.process)

    def _remove(self, role: str, number: int) -> None:
        place = self._places.pop((role, number), None)
        if place is not None:
            guard.forget(place)

    def _add(self, role: str, number: int, pid: int) -> None:
        try:
            place = guard.announce(None)
        except OSError as error:
            _log.warning("%s %d would outlive the master: no guard: %s", role, number, error.strerror)
            return
        try:
            guard.watch(place, pid, unless=self._master)
        except OSError:  # it has ended meanwhile
            guard.forget(place)
        else:
            self._places[role, number] = place
