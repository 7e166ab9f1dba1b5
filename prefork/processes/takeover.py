"""The new master's side of an upgrade: what the old one leaves, and the moment to serve in its place."""

import contextlib
import logging
import os
import select
import selectors
import socket
import stat
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Final

from prefork.control.happened import happened
from prefork.core.heirlooms import Heirloom, Will
from prefork.errors import UsageError
from prefork.messages import Bequest, Complete, Estate, Heirlooms, Message, TakeOver, Unable, shorten
from prefork.system.channel import Channel, ChannelClosed, adopt
from prefork.system.handoff import Passed
from prefork.system.listeners import Left, Listener, Loan, take

VARIABLE: Final = "_PREFORK_UPGRADE"  # names our end of the channel to the old master; no setting, so of another prefix
ESTATE_SECONDS: Final = 10.0  # the old master sends it right after it has forked us

_log = logging.getLogger("prefork.upgrade")


class Predecessor:
    """The old master, as the new one knows it."""

    def __init__(self, channel: Channel) -> None:
        """Wait for what it leaves; `events` are as `Events.dump` gives them. Raises UsageError when that does not come,
        or cannot be understood."""
        self._channel: Channel | None = channel
        estate, heirlooms, self.events = _receive_estate(channel)
        self.pid = estate.pid
        self.generation = estate.generation
        self.workers = estate.workers
        self.served = False  # whether we serve in its place
        self._asked = False
        self._loan = Loan()
        self._families = estate.families
        self._will = Will([heirloom for heirloom, _ in heirlooms])
        self._descriptors = {heirloom.number: descriptor for heirloom, descriptor in heirlooms}
        self._binds = [h.bind for h, _ in sorted(heirlooms, key=lambda pair: pair[0].index) if h.slot == 0]
        self._activated = estate.activated
        self._taken: list[Heirloom] = []
        self._of_descriptor: dict[int, Heirloom] = {}  # the same
        self._indexes: list[int] = []  # ours, by its index
        self._last_words: LastWords | None = None

    def __bool__(self) -> bool:
        """Whether it is still there, as far as we know."""
        return self._channel is not None

    # -- what it leaves

    @property
    def activated_binds(self) -> list[str]:
        """What systemd gave to it, as addresses."""
        return self._binds if self._activated else []

    def left(self, bind: str) -> Left | None:
        """The listener it leaves for an address, if any. Each is given once."""
        return self._given(self._will.take(bind))

    def left_to_operators(self, bind: str) -> Left | None:
        """The same, of listeners that serve no clients."""
        return self._given(self._will.take_operators(bind))

    def of_slots(self, listeners: Sequence[Listener], backlog: int) -> dict[int, list[Listener]]:
        """What it leaves for slots beside `listeners`, ours (balance kernel). Where one of ours is new there is none,
        and the slot opens its own later."""
        firsts = [self._first(listener) for listener in listeners]
        found: dict[int, list[Listener]] = {}
        for slot, row in self._will.of_slots(firsts).items():
            whole = [heirloom for heirloom in row if heirloom is not None]
            if len(whole) == len(listeners):
                lefts = [(heirloom.bind, left) for heirloom in whole if (left := self._given(heirloom)) is not None]
                found[slot] = [take(left, bind, backlog, True) for bind, left in lefts]
        return found

    def has_left(self, listener: Listener) -> bool:
        """Whether one of ours is its, too."""
        return self._first(listener) is not None

    def families(self, listeners: Sequence[Listener]) -> list[int]:
        """The address family of each of `listeners`, ours, and after them those of connections that may still come from
        listeners of its that are gone."""
        found: list[int] = [listener.socket.family for listener in listeners]
        of_index = {first.index: at for at, li in enumerate(listeners) if (first := self._first(li)) is not None}
        self._indexes = []
        for index, family in enumerate(self._families):
            if index not in of_index:
                of_index[index] = len(found)
                found.append(family)
            self._indexes.append(of_index[index])
        return found

    def close_rest(self) -> None:
        """Close what we do not need of what it left."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()

    # -- the moment to serve

    def attend(
        self,
        selector: selectors.BaseSelector,
        serve: Callable[[], None],
        dispatch: Callable[[list[Passed]], object],
    ) -> None:
        """Hear it from now on. `serve` when it is our turn, `dispatch` for connections it gives us."""
        assert self._channel is not None
        self._last_words = LastWords()
        self._selector = selector
        self._serve, self._dispatch = serve, dispatch
        selector.register(self._channel, selectors.EVENT_READ, self._listen)

    def ask(self, idle: bool) -> None:
        """We are ready: ask whether it is our turn, once. `idle`: we can go on with connections it has begun."""
        if not self._asked and self._channel is not None:
            self._asked = True
            with contextlib.suppress(ChannelClosed):  # it is gone, as reading will tell
                self._channel.send(Complete([heirloom.number for heirloom in self._taken], idle))

    @property
    def waits(self) -> bool:
        """Whether it serves, and we do not."""
        return self._channel is not None and not self.served

    def unable(self) -> None:
        """We end without having served: say why."""
        if self.waits and self._channel is not None and self._last_words is not None:
            self._channel.tell(Unable(self._last_words.text or "it was told to stop"))

    def _listen(self) -> None:
        try:
            while self._channel is not None and (received := self._channel.receive()):
                self._obey(*received)
        except (ChannelClosed, ValueError):
            self._gone()

    def _obey(self, message: Message, descriptors: list[int]) -> None:
        if isinstance(message, TakeOver):
            _log.info("upgrade: we serve in the place of master %d, which drains", self.pid, extra=happened("upgrade"))
            self._begin()
        elif isinstance(message, Bequest):
            if len(descriptors) < len(message.listeners):
                lost = len(message.listeners) - len(descriptors)
                _log.error("%d connections of master %d are lost: too many open files; see ulimit -n", lost, self.pid)
            self._dispatch([Passed(d, self._index(i)) for d, i in zip(descriptors, message.listeners, strict=False)])

    def _gone(self) -> None:
        if self._channel is None:
            return
        self._selector.unregister(self._channel)
        self._channel.close()
        self._channel = None
        if self.served:
            _log.info(
                "upgrade: master %d has ended; all its connections are served here or closed",
                self.pid,
                extra=happened("upgrade"),
            )
        else:
            _log.warning(
                "upgrade: master %d is gone before its time: we serve in its place", self.pid, extra=happened("upgrade")
            )
        self._begin()

    def _begin(self) -> None:
        if not self.served:
            self.served = True
            self._loan.lent = False
            if self._last_words is not None:
                self._last_words.close()
        self._serve()

    def _given(self, heirloom: Heirloom | None) -> Left | None:
        if heirloom is None:
            return None
        descriptor = self._descriptors.pop(heirloom.number)
        self._taken.append(heirloom)
        self._of_descriptor[descriptor] = heirloom
        return Left(descriptor, heirloom.family, heirloom.shared, heirloom.file, self._loan)

    def _first(self, listener: Listener) -> Heirloom | None:
        return self._of_descriptor.get(listener.fileno())

    def _index(self, index: int) -> int:
        return self._indexes[index] if 0 <= index < len(self._indexes) else 0


def find_predecessor(environment: MutableMapping[str, str]) -> Predecessor | None:
    """The master whose place we are to take, if we were started by one. Removes what tells of it. Raises UsageError."""
    descriptor = _descriptor(environment.pop(VARIABLE, ""))
    if descriptor is None:
        return None
    os.set_inheritable(descriptor, False)
    return Predecessor(Channel(adopt(descriptor)))


@contextlib.contextmanager
def telling_failure(environment: Mapping[str, str]) -> Iterator[Callable[[], None]]:
    """Tell the old master, if there is one, by what error we end; until what is yielded is called: then `Predecessor`
    tells."""
    descriptor = _descriptor(environment.get(VARIABLE, ""))
    if descriptor is None:
        yield lambda: None
        return
    channel = Channel(adopt(os.dup(descriptor)))
    try:
        yield channel.close
    except Exception as error:
        words = " ".join(str(getattr(error, "message", error)).split())  # click's have one
        channel.tell(Unable(shorten(words or type(error).__name__)))
        raise
    finally:
        channel.close()


def _descriptor(text: str) -> int | None:
    """Our end of the channel; None for what cannot be one: then we are a server like any other."""
    if not (text.isascii() and text.isdigit()):
        return None
    try:
        if not stat.S_ISSOCK(os.fstat(int(text)).st_mode):
            return None
        with socket.socket(fileno=os.dup(int(text))) as end:
            right = end.family == socket.AF_UNIX and end.type == socket.SOCK_SEQPACKET
    except (OSError, OverflowError):
        return None
    return int(text) if right else None


def _receive_estate(channel: Channel) -> tuple[Estate, list[tuple[Heirloom, int]], bytes]:
    estate: Estate | None = None
    events = b""
    heirlooms: list[tuple[Heirloom, int]] = []
    ready = select.poll()
    ready.register(channel, select.POLLIN)
    try:
        while estate is None or len(heirlooms) < estate.listeners:
            if not ready.poll(ESTATE_SECONDS * 1000):
                raise UsageError(f"the old master left us nothing within {ESTATE_SECONDS:g} s")
            received = channel.receive()
            if received is None:
                continue
            message, descriptors = received
            if isinstance(message, Estate):
                estate = message
                for descriptor in descriptors:
                    with os.fdopen(descriptor, "rb") as file:
                        file.seek(0)
                        events = file.read()
            elif isinstance(message, Heirlooms) and len(message.listeners) == len(descriptors):
                heirlooms += zip(map(Heirloom.read, message.listeners), descriptors, strict=True)
            else:
                raise ValueError(f"unexpected: {type(message).__name__} with {len(descriptors)} descriptors")
    except ChannelClosed:
        raise UsageError("the old master was gone before it left us its listeners") from None
    except ValueError as error:
        raise UsageError(f"cannot understand the old master, which may be of another version: {error}") from None
    return estate, heirlooms, events


class LastWords(logging.Handler):
    """Keeps the end of the last error that was logged with a traceback, or else of the last one: by these words a
    master that cannot start tells the old one why."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.text = ""
        self._traced = False
        logging.getLogger("prefork").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        lines = record.getMessage().strip().splitlines()
        traced = len(lines) > 1
        if lines and (traced or not self._traced) and (record.levelno == logging.ERROR or not self.text):
            self.text, self._traced = shorten(lines[-1].strip()), traced

    def close(self) -> None:
        logging.getLogger("prefork").removeHandler(self)
        super().close()
