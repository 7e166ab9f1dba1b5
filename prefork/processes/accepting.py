"""Accept connections on an event loop, for a service of this process's own."""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context
from typing import Any, Final

from prefork.system.listeners import Listener

ACCEPT_BATCH: Final = 16  # connections taken per turn of the loop: others on it have their turn too
_GONE: Final = {errno.EAGAIN, errno.ECONNABORTED, errno.EINTR}  # accept(2): there is nothing there, or not any more


class Acceptor:
    """Takes from listeners as long as there is room; what does not fit waits in the kernel."""

    def __init__(
        self,
        listeners: Sequence[Listener],
        connect: Callable[[socket.socket, int], Coroutine[Any, Any, None]],
        has_room: Callable[[], bool],
        log: logging.Logger,
        context: Context | None = None,
        arrived: Callable[[], None] = lambda: None,
    ) -> None:
        """`connect` gets a connection, its own from then on, and the index of its listener; `arrived` is called when
        it has ended."""
        self.arriving: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._listeners = listeners
        self._connect = connect
        self._has_room = has_room
        self._log = log
        self._context = context
        self._arrived = arrived
        self._resting: set[int] = set()  # listeners that are not polled, by index: there is no room, or no descriptor
        self._stopped = False

    @property
    def resting(self) -> bool:
        """Whether connections wait in the kernel, as far as we know."""
        return bool(self._resting) and not self._stopped

    def start(self) -> None:
        for index in range(len(self._listeners)):
            self._poll(index)

    def tick(self) -> None:
        """Try again where there was no room."""
        if not self._stopped:
            for index in list(self._resting):
                self._poll(index)

    def stop(self) -> None:
        """Accept no more. The listeners stay open."""
        self._stopped = True
        for index in range(len(self._listeners)):
            self._rest(index)

    def take_waiting(self) -> None:
        """Take what the kernel holds for us, though there is no room."""
        for index in range(len(self._listeners)):
            while self._accept_one(index):
                pass

    def _poll(self, index: int) -> None:
        self._resting.discard(index)
        self._loop.add_reader(self._listeners[index].socket, self._accept, index)

    def _rest(self, index: int) -> None:
        """Do not poll it until the next tick."""
        self._resting.add(index)
        self._loop.remove_reader(self._listeners[index].socket)

    def _accept(self, index: int) -> None:
        for _ in range(ACCEPT_BATCH):
            if not self._has_room():
                self._rest(index)
                return
            if not self._accept_one(index):
                return

    def _accept_one(self, index: int) -> bool:
        """Returns whether there was one."""
        listener = self._listeners[index]
        try:
            end, _ = listener.socket.accept()
        except OSError as error:
            if error.errno not in _GONE:  # no descriptor is left, or no memory: asking again at once would be in vain
                self._log.warning("cannot accept on %s: %s", listener.name, error.strerror)
                self._rest(index)
            return False
        task = self._loop.create_task(self._connect(end, index), context=self._context)
        self.arriving.add(task)
        task.add_done_callback(self._ended)
        return True

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self.arriving.discard(task)
        self._arrived()
