"""Accept connections and hand them out; keep those nobody can take yet. Nothing accepted is lost here."""

import logging
import os
import select
import selectors
import time
from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Final, Protocol

from prefork.core.balancing import Balance, Split
from prefork.core.lifecycle import State
from prefork.messages import Accept
from prefork.metrics import ours
from prefork.processes.link import WorkerLink
from prefork.system import backlog as backlogs
from prefork.system.channel import ChannelClosed
from prefork.system.handoff import BATCH, Passed
from prefork.system.listeners import Listener, open_beside

HANDSHAKE_MILLISECONDS: Final = 50  # how long handshakes on their way may take when the server stops
HANDSHAKE_ROUNDS: Final = 10
RETRY_SECONDS: Final = 0.1  # out of descriptors or memory, or a queue is full: to try again at once would spin

_log = logging.getLogger("prefork.handout")


class Heir(Protocol):
    """Another master, which serves from now on."""

    def give(self, connections: list[Passed]) -> list[Passed]:
        """Pass connections on. Returns those that it cannot take yet; the others are not ours any more."""


@dataclass
class Seat:
    """A worker that may take connections, within one round of handing out."""

    link: WorkerLink
    slot: int
    generation: int
    load: int


class HandOut:
    """The listeners, and the connections between accept and worker."""

    def __init__(
        self,
        listeners: list[Listener],
        balance: Balance,
        links: dict[int, WorkerLink],
        most: int,
        backlog: int,
        selector: selectors.BaseSelector,
    ) -> None:
        """`links` by serial, kept by the caller; `most` connections a worker."""
        self.paused_until = 0.0  # monotonic seconds: accepting or handing out failed
        self._balance = balance
        self._links = links
        self._most: float = most
        self._takers = State.READY
        self._backlog = backlog
        self._selector = selector
        self._listeners = listeners
        self._of_slot: dict[int, list[Listener]] = {0: listeners} if balance.workers_accept else {}
        self._polled: set[Listener] = set()
        self._waiting: list[Passed] = []  # accepted, and nobody may take them yet
        self._split: Split | None = None
        self._fresh: set[int] = set()  # descriptors of connections that nobody was chosen for yet, while there is one
        self._held: Collection[Listener] | None = None  # another master still serves, from these too: accept nothing
        self._heir: Heir | None = None  # another master serves from now on: it gets all connections

    def hold(self, left: Collection[Listener], of_slots: Mapping[int, list[Listener]]) -> None:
        """Accept nothing until `begin`: another master still serves, and accepts from those of our listeners that it
        has `left`, and from all `of_slots`, which are left beside them."""
        self._held = [*left, *(listener for owned in of_slots.values() for listener in owned)]
        self._of_slot.update(of_slots)

    def begin(self) -> None:
        """Accept from now on."""
        self._held = None

    @property
    def workers_accept(self) -> bool:
        """Whether workers accept by themselves, each slot from listeners of its own (balance kernel)."""
        return self._balance.workers_accept

    def listeners(self) -> dict[int, list[Listener]]:
        """Those that are open, by slot; all are of slot 0 but with balance kernel."""
        return self._of_slot if self._balance.workers_accept else {0: self._listeners}

    def leave_to(self, heir: "Heir", kept: Collection[Listener]) -> None:
        """Another master serves from now on, also what waits here. It has the listeners in `kept` too."""
        self._heir = heir
        self.close(kept)
        self.dispatch(())

    def leave_to_nobody(self) -> None:
        """The other master is gone."""
        self._heir = None

    @property
    def leaving(self) -> bool:
        """Whether connections are still to be given to the other master."""
        return self._heir is not None and bool(self._waiting)

    @property
    def held(self) -> int:
        """Connections that were accepted and that nobody may take yet."""
        return len(self._waiting)

    def listeners_of(self, slot: int) -> list[Listener]:
        """What the worker of a slot accepts from by itself: nothing, unless the kernel balances. The sockets belong to
        the slot, not to the worker, so that a respawn or reload resets nothing that waits in their backlogs."""
        if not self._balance.workers_accept or self._held is not None:
            return []
        if slot not in self._of_slot:
            self._of_slot[slot] = [open_beside(listener, self._backlog) for listener in self._listeners]
        return self._of_slot[slot]

    def queued(self) -> int:
        """Connections that no worker has got yet: those that are with us, and those in the kernel's backlogs."""
        owned = [*self._listeners, *(other for slot in self._of_slot.values() for other in slot if not other.shared)]
        return len(self._waiting) + sum(backlogs.waiting(listener.socket) for listener in dict.fromkeys(owned))

    def dispatch(self, connections: Iterable[Passed]) -> bool:
        """Give connections to workers, each to the one that balancing chooses; keep those that nobody may take.
        Returns whether anybody could take more."""
        todo = [*self._waiting, *connections]
        if self._heir is not None:
            self._waiting = self._heir.give(todo)
            return True
        clogged: set[WorkerLink] = set()  # their queues are full just now
        while seats := self._seats(clogged):
            batches: dict[WorkerLink, list[Passed]] = {}
            for connection in todo[:BATCH]:
                seat = self._choose(seats, connection)
                if seat is None:
                    break
                batches.setdefault(seat.link, []).append(connection)
                seat.load += 1
                if seat.load >= self._most:
                    seats.remove(seat)
            del todo[: sum(len(batch) for batch in batches.values())]
            for link, batch in batches.items():
                if link.give(batch):
                    ours.handed_out.inc(len(batch))
                else:
                    clogged.add(link)
                    todo = batch + todo
            if not todo:
                break
        self._waiting = todo
        ours.waiting_connections.set(len(todo))
        return bool(seats)

    def split(self, generation: int, share: float) -> Split:
        """From now on give a generation exactly that share of the connections that are accepted."""
        self._split = Split(generation, share, type(self._balance))
        return self._split

    def unite(self) -> None:
        """No generation gets a share of its own any more."""
        self._split = None
        self._fresh.clear()

    def take_back(self, link: WorkerLink) -> int:
        """Hand the connections that a worker did not read to others. Returns how many there were."""
        unread = link.take_back()
        self.dispatch(unread)
        return len(unread)

    def update(self, now: float) -> None:
        """Poll exactly the listeners whose connections are ours to accept and that somebody could take."""
        self.dispatch(())
        if self._heir is not None:
            if self._waiting:
                self.paused_until = now + RETRY_SECONDS  # it is busy, and nothing tells when it reads
            return
        seats = [] if self._waiting or self._held is not None else self._seats()
        self._let_accept()
        polled: dict[Listener, int] = {}
        if seats and now >= self.paused_until:
            polled = {listener: index for owned in self._ours_to_accept() for index, listener in enumerate(owned)}
        for listener in self._polled - polled.keys():
            self._selector.unregister(listener.socket)
        for listener in polled.keys() - self._polled:
            accept = partial(self._accept, listener, polled[listener])
            self._selector.register(listener.socket, selectors.EVENT_READ, accept)
        self._polled = set(polled)
        for link in self._links.values():
            link.board.wait_for_room(not seats)
        if not seats and self._held is None and self.dispatch(()):
            self.update(now)  # a connection closed before its worker could see that we wait
        elif self._waiting and self._seats():
            self.paused_until = now + RETRY_SECONDS  # a queue is full, and nothing tells when its worker reads

    def deadlines(self, now: float) -> Iterator[float]:
        """When `update` could next have something to do, should nothing happen before."""
        if self.paused_until > now:
            yield self.paused_until

    def close(self, kept: Collection[Listener] = ()) -> None:
        """Stop listening. What the kernel holds by now is accepted and handed out, but where another master listens on
        (`kept`)."""
        for listener in self._polled:
            self._selector.unregister(listener.socket)
        self._polled = set()
        kept = kept if self._held is None else self._held
        groups = {id(owned): owned for owned in (self._listeners, *self._of_slot.values())}.values()
        listening = {
            listener: index for owned in groups for index, listener in enumerate(owned) if listener not in kept
        }
        for listener in listening:
            listener.refuse()
        late = select.poll()
        for listener in listening:
            if not listener.shared:  # the others cannot be told to begin no more
                late.register(listener, select.POLLIN)
        more = list(listening)
        for _ in range(HANDSHAKE_ROUNDS if listening else 0):
            for listener in more:
                for _ in range(self._backlog // BATCH + 1):
                    if not self._accept(listener, listening[listener]):
                        break
            ready = {descriptor for descriptor, _ in late.poll(HANDSHAKE_MILLISECONDS)}
            more = [listener for listener in listening if listener.fileno() in ready]
            if not more:
                break
        for listener in listening:
            listener.unlink()
            listener.close()
        for listener in kept:
            listener.close()
        self._listeners = []
        self._of_slot = {}

    def settle(self) -> None:
        """The server stops, and nobody comes after these workers: hand out all that waits, to full ones too, and to
        stalled ones if there are no others."""
        self._most = inf
        if not any(link.handle.state is State.READY for link in self._links.values()):
            self._takers = State.STALLED
        self.dispatch(())

    def reset_waiting(self) -> int:
        """Close what was never taken: the server ends. Returns how many there were."""
        for connection in self._waiting:
            os.close(connection.descriptor)
        ours.refused_connections.labels("unserved").inc(len(self._waiting))
        count, self._waiting = len(self._waiting), []
        return count

    def _let_accept(self) -> None:
        """Let workers that were started while we were held accept by themselves (balance kernel)."""
        for link in self._links.values():
            if not link.accepts and link.handle.state is State.READY:
                listeners = self.listeners_of(link.handle.slot)
                with suppress(ChannelClosed):  # it dies, as waitpid will tell
                    link.accepts = bool(listeners) and link.channel.send(Accept(), [li.fileno() for li in listeners])

    def _ours_to_accept(self) -> list[list[Listener]]:
        if not self._balance.workers_accept:
            return [self._listeners]
        ready = (link for link in self._links.values() if link.accepts and link.handle.state is State.READY)
        served = {link.handle.slot for link in ready}
        return [owned for slot, owned in self._of_slot.items() if slot not in served]

    def _seats(self, clogged: Container[WorkerLink] = ()) -> list[Seat]:
        ready = (link for link in self._links.values() if link.handle.state is self._takers and link not in clogged)
        seats = (Seat(link, link.handle.slot, link.handle.generation, link.load) for link in ready)
        return sorted((seat for seat in seats if seat.load < self._most), key=lambda seat: seat.slot)

    def _choose(self, seats: list[Seat], connection: Passed) -> Seat | None:
        if self._split is None:
            return self._balance.choose(seats)
        seat = self._split.choose(seats, connection.descriptor in self._fresh)
        if seat is not None:
            self._fresh.discard(connection.descriptor)
        return seat

    def _accept(self, listener: Listener, index: int) -> int:
        """Accept a batch and hand it out. Returns its size."""
        accepted: list[Passed] = []
        now = time.monotonic()
        room = True
        try:
            while len(accepted) < BATCH:
                connection, _ = listener.socket.accept()
                accepted.append(Passed(connection.detach(), index, now))
        except (BlockingIOError, ConnectionAbortedError):
            pass
        except OSError as error:
            _log.warning("cannot accept connections for now: %s", error.strerror)
            self.paused_until = time.monotonic() + RETRY_SECONDS
            room = False
        if self._split is not None:
            self._fresh.update(connection.descriptor for connection in accepted)
        if accepted:
            ours.accepted.inc(len(accepted))
            room = self.dispatch(accepted) and room
        if self._polled and (self._waiting or not room):
            self.update(time.monotonic())
        return len(accepted)
