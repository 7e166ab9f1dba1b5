"""The master's side of an upgrade: a new master, from its start until it serves in our place, or has failed to."""

import errno
import io
import logging
import os
import selectors
import signal
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from math import inf
from typing import IO, Final, NoReturn

from prefork.control.happened import happened
from prefork.control.later import Later
from prefork.control.status import Done
from prefork.core.heirlooms import OPERATORS, Heirloom
from prefork.errors import CommandError
from prefork.messages import Bequest, Complete, Estate, Heirlooms, Message, TakeOver, Unable
from prefork.processes.origin import NOT_FOUND, Origin
from prefork.processes.takeover import VARIABLE
from prefork.system import process
from prefork.system.channel import Channel, ChannelClosed
from prefork.system.handoff import BATCH, Passed
from prefork.system.listeners import Listener

START_SECONDS: Final = 10.0  # for the interpreter and prefork, beside the time that the app may take
END_SECONDS: Final = 5.0  # from SIGTERM to SIGKILL for a new master that is not wanted any more
RETRY_SECONDS: Final = 0.05  # its queue is full, and nothing tells when it reads

_log = logging.getLogger("prefork.upgrade")


@dataclass(frozen=True, slots=True)
class Possession:
    """A listener that is ours to leave."""

    heirloom: Heirloom
    listener: Listener


class Upgrade:
    """At most one new master at a time. When it serves, it is the heir of our connections."""

    def __init__(
        self,
        origin: Origin,
        selector: selectors.BaseSelector,
        boot_seconds: float,
        announce: Callable[[int | None], None],
        handed_over: Callable[[Collection[Listener], bool], None],
        changed: Callable[[], None],
    ) -> None:
        """`announce(pid)` just before it serves, and `announce(None)` if that fails. `handed_over(kept, idle)` when it
        serves: it has the listeners in `kept` too, and takes idle connections or not. `changed` when `tick` should be
        called."""
        self.pid: int | None = None
        self.serves = False  # in our place
        self._origin = origin
        self._selector = selector
        self._seconds = START_SECONDS + 2 * boot_seconds  # its mold imports the app, then its workers boot
        self._announce = announce
        self._handed_over = handed_over
        self._changed = changed
        self._channel: Channel | None = None
        self._possessions: list[Possession] = []
        self._unsent: deque[tuple[Message, list[int]]] = deque()
        self._deadline = inf  # monotonic seconds: it has to be complete by then
        self._kill_at = inf
        self._reason = ""  # why it failed, as far as is known
        self._abandoned = False
        self._events: IO[bytes] = io.BytesIO()  # a memfd while there is a new master
        self._outcome = Later()

    def __bool__(self) -> bool:
        """Whether there is a new master."""
        return self.pid is not None

    @property
    def boots(self) -> bool:
        """Whether there is one that may still take over."""
        return self.pid is not None and not self.serves and self._kill_at == inf

    def begin(self, estate: Estate, events: bytes, possessions: list[Possession], now: float) -> Later:
        """Start a new master, and leave it what it takes to serve. Returns what tells how it went. Raises CommandError
        when it cannot be forked."""
        ours, theirs = Channel.pair()
        try:
            memory = memory_of(events)
            pid = self._fork(theirs)
        except OSError as error:
            ours.close()
            raise CommandError(f"cannot fork a new master: {error.strerror}") from None
        finally:
            theirs.close()
        # Without the arguments: there may be a secret among them.
        _log.info(
            "upgrade: new master (pid %d) starts: %s in %s",
            pid,
            self._origin.program,
            self._origin.folder,
            extra=happened("upgrade"),
        )
        self.pid, self._channel, self._reason = pid, ours, ""
        self._outcome = Later()
        self._deadline, self._kill_at = now + self._seconds, inf
        self._possessions = possessions
        self._unsent = deque([(estate, [memory.fileno()])])
        self._events = memory
        for first in range(0, len(possessions), BATCH):
            batch = possessions[first : first + BATCH]
            named = Heirlooms([asdict(possession.heirloom) for possession in batch])
            self._unsent.append((named, [possession.listener.fileno() for possession in batch]))
        self._selector.register(ours, selectors.EVENT_READ, self._listen)
        self._flush()
        return self._outcome

    def tick(self, now: float) -> None:
        """Do what is due."""
        self._flush()
        if now >= self._kill_at:
            self._kill_at = now + END_SECONDS
            process.send_signal(self.pid, signal.SIGKILL)
        elif now >= self._deadline:
            self._fail(f"it was not ready within {self._seconds:g} s", now)

    def deadlines(self, now: float) -> Iterator[float]:
        """When `tick` has something to do, should nothing happen before."""
        yield from (at for at in (self._deadline, self._kill_at) if at < inf)
        if self._unsent:
            yield now + RETRY_SECONDS

    def abandon(self, reason: str, now: float) -> None:
        """End a new master that has not taken over: it is not wanted any more."""
        if self.boots:
            self._abandoned = True
            self._reason = reason
            self._fail(reason, now)

    def give(self, connections: list[Passed]) -> list[Passed]:
        """Pass connections on to the new master, which serves. Returns those it cannot take yet."""
        left = list(connections)
        while left and self._channel is not None:
            batch = left[:BATCH]
            try:
                numbers = [passed.listener for passed in batch]
                if not self._channel.send(Bequest(numbers), [passed.descriptor for passed in batch]):
                    break
            except ChannelClosed as error:
                if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.ETOOMANYREFS:
                    break  # too many descriptors are under way (unix(7)), until some are read
                self._hang_up()
                break
            for passed in batch:
                os.close(passed.descriptor)
            del left[: len(batch)]
        return left

    @property
    def listens(self) -> bool:
        """Whether the new master can still be told something."""
        return self._channel is not None

    def reaped(self, pid: int, status: int) -> bool:
        """A child has ended. Returns whether it was the new master."""
        if pid != self.pid:
            return False
        self._listen()  # what it said last
        words = process.exit_words(status)
        if self.serves:
            _log.error(
                "upgrade: new master (pid %d), which serves in our place, died: %s", pid, words, extra=happened("died")
            )
        elif self._abandoned:
            _log.info("upgrade: new master (pid %d) has ended: %s", pid, words, extra=happened("upgrade"))
            self._outcome.fail(CommandError(f"the upgrade was given up: {self._reason}"))
        else:
            why = self._reason or "the lines above may tell why"
            failed = f"upgrade failed: new master (pid {pid}) ended ({words}): {why}"
            _log.error("%s; we go on serving", failed, extra=happened("upgrade"))
            self._outcome.fail(CommandError(failed))
        self.pid = None
        self._deadline = self._kill_at = inf
        self._hang_up()
        self._changed()
        return True

    # -- within

    def _fork(self, theirs: Channel) -> int:
        """Fork and exec. No signal may come between: its handler would still be ours."""
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
            if pid == 0:
                self._become_new(theirs, mask)
            return pid
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _become_new(self, theirs: Channel, mask: Collection[int]) -> NoReturn:
        try:
            signal.set_wakeup_fd(-1)
            os.set_inheritable(theirs.fileno(), True)
            self._origin.become({VARIABLE: str(theirs.fileno())}, mask)
        except OSError as error:
            where = error.filename if isinstance(error.filename, str) else self._origin.program
            theirs.tell(Unable(f"{where}: {(error.strerror or str(error)).lower()}"))
        finally:
            os._exit(NOT_FOUND)  # never up into the master's frames

    def _flush(self) -> None:
        """Send what waits, in its order."""
        while self._unsent and self._channel is not None:
            message, descriptors = self._unsent[0]
            try:
                if not self._channel.send(message, descriptors):
                    return
            except ChannelClosed:
                self._unsent.clear()  # it is gone, as waitpid will tell; it may have said why
                self._listen()
                return
            self._unsent.popleft()

    def _listen(self) -> None:
        try:
            while self._channel is not None and (received := self._channel.receive()):
                self._obey(received[0])
        except ChannelClosed:
            self._hang_up()
        except ValueError as error:
            self._reason = f"it speaks another language: {error}"
            self._kill()
            self._hang_up()

    def _obey(self, message: Message) -> None:
        if isinstance(message, Unable):
            self._reason = message.reason
        elif isinstance(message, Complete) and self.boots and self._channel is not None:
            numbers = set(message.kept)
            kept = [own.listener for own in self._possessions if own.heirloom.number in numbers]
            self._announce(self.pid)
            try:
                sent = self._channel.send(TakeOver())
            except ChannelClosed:
                sent = False
            if not sent:
                self._announce(None)  # it has died, as waitpid will tell
                self._kill()
            else:
                self.serves = True
                self._deadline = inf
                _log.info(
                    "upgrade: new master (pid %d) is ready and serves; we drain", self.pid, extra=happened("upgrade")
                )
                self._handed_over(kept, message.idle)
                self._outcome.settle(Done(done=f"master {self.pid} serves; master {os.getpid()} drains and ends"))
        self._changed()

    def _fail(self, reason: str, now: float) -> None:
        _log.error("upgrade: new master (pid %s) is ended: %s", self.pid, reason, extra=happened("upgrade"))
        self._reason = self._reason or reason
        self._deadline, self._kill_at = inf, now + END_SECONDS
        process.send_signal(self.pid, signal.SIGTERM)
        self._changed()

    def _kill(self) -> None:
        process.send_signal(self.pid, signal.SIGKILL)

    def _hang_up(self) -> None:
        if self._channel is not None:
            self._selector.unregister(self._channel)
            self._channel.close()
            self._channel = None
            self._events.close()
        self._unsent.clear()
        self._changed()


def memory_of(data: bytes) -> IO[bytes]:
    """A memfd that holds `data`. Raises OSError."""
    file = os.fdopen(os.memfd_create("prefork-events", os.MFD_CLOEXEC), "w+b")
    file.write(data)
    file.flush()
    return file


def possessions(listeners: dict[int, list[Listener]], operators: Sequence[Listener] = ()) -> list[Possession]:
    """Everything to leave: listeners by slot, and those of operators."""
    found: list[Possession] = []
    for slot, owned in (*sorted(listeners.items()), (OPERATORS, operators)):
        for index, listener in enumerate(owned):
            family = listener.socket.family
            heirloom = Heirloom(len(found), listener.bind, slot, index, family, listener.shared, listener.file)
            found.append(Possession(heirloom, listener))
    return found
