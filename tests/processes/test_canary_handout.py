"""While there is a canary, the master's hand-out keeps to its share and loses nothing. No process here: real sockets,
accepted from a listener that is none, given to workers that are none."""

import os
import selectors
import socket
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from prefork.core.balancing import RoundRobin
from prefork.core.lifecycle import State
from prefork.core.roster import Roster, WorkerHandle
from prefork.processes.handout import HandOut
from prefork.system.handoff import Passed
from tests.core.roster import add

MOST = 20  # connections a worker may hold


class FakeBoard:
    def wait_for_room(self, wait: bool) -> None:
        pass


class FakeLink:
    """A worker that takes what it is given, unless its queue is clogged."""

    def __init__(self, handle: WorkerHandle) -> None:
        self.handle = handle
        self.board = FakeBoard()
        self.accepts = False
        self.clogged = False
        self.queue: list[Passed] = []
        self.load = 0

    def give(self, connections: list[Passed]) -> bool:
        if self.clogged:
            return False
        self.queue += connections
        self.load += len(connections)
        return True

    def take_back(self) -> list[Passed]:
        unread, self.queue = self.queue, []
        self.load -= len(unread)
        return unread


class FakeListener:
    """Connections come when the test says so."""

    shared = False

    def __init__(self) -> None:
        self.socket = self
        self.coming: list[socket.socket] = []

    def accept(self) -> tuple[socket.socket, str]:
        if not self.coming:
            raise BlockingIOError
        return self.coming.pop(0), ""

    def fileno(self) -> int:
        return 1000


class FakeSelector:
    """Keeps what would be called when connections come."""

    def __init__(self) -> None:
        self.accept: Callable[[], object] | None = None

    def register(self, of: object, events: int, data: Callable[[], object]) -> None:
        self.accept = data

    def unregister(self, of: object) -> None:
        self.accept = None


class Site:
    """An old worker and one of a canary that gets half."""

    def __init__(self) -> None:
        roster = Roster(1)
        self.old, self.new = (FakeLink(add(roster, 0, generation=generation)) for generation in (1, 2))
        self.listener, self.selector = FakeListener(), FakeSelector()
        links = cast(Any, {link.handle.serial: link for link in (self.old, self.new)})
        listeners, selector = cast(Any, [self.listener]), cast(selectors.BaseSelector, self.selector)
        self.handout = HandOut(listeners, RoundRobin(), links, MOST, 100, selector)
        self.split = self.handout.split(2, 0.5)
        self.handout.update(0.0)
        self._theirs: list[socket.socket] = []

    def come(self, count: int) -> None:
        """So many clients connect."""
        for _ in range(count):
            ours, theirs = socket.socketpair()
            self.listener.coming.append(ours)
            self._theirs.append(theirs)
        assert self.selector.accept is not None
        self.selector.accept()

    @property
    def counts(self) -> tuple[int, int]:
        """What the old worker holds, and the new one."""
        return len(self.old.queue), len(self.new.queue)

    def close(self) -> None:
        for passed in self.old.queue + self.new.queue:
            os.close(passed.descriptor)
        self.handout.reset_waiting()
        for end in self._theirs:
            end.close()


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


def test_connections_are_split_whether_they_come_alone_or_together(site: Site) -> None:
    for count in (1, 7, 1, 1, 10):
        site.come(count)
    assert site.counts == (10, 10)
    assert (site.split.given, site.split.new) == (10, 20)


def test_a_canary_whose_queue_is_full_costs_nobody_a_connection(site: Site) -> None:
    site.new.clogged = True
    site.come(10)
    assert site.counts == (10, 0)
    site.new.clogged = False
    site.come(10)
    assert site.counts == (15, 5)


def test_what_a_full_canary_cannot_take_the_old_generation_does(site: Site) -> None:
    site.new.load = MOST
    site.come(10)
    assert site.counts == (10, 0)


def test_what_is_taken_back_from_a_canary_goes_to_the_old_generation(site: Site) -> None:
    site.come(10)
    assert site.counts == (5, 5)
    site.new.handle.state = State.STALLED
    site.handout.take_back(cast(Any, site.new))
    assert site.counts == (10, 0)
    site.new.handle.state = State.READY
    site.come(4)
    assert site.counts == (12, 2)
    assert site.split.new == 14  # those that came back were counted when they came


def test_what_is_handed_back_by_the_old_generation_stays_with_it(site: Site) -> None:
    site.come(10)
    returned = site.old.take_back()
    site.handout.dispatch(returned)
    assert site.counts == (5, 5)


def test_connections_that_had_to_wait_are_split_when_somebody_has_room(site: Site) -> None:
    for link in (site.old, site.new):
        link.clogged = True
    site.come(8)
    assert (site.counts, site.handout.held) == ((0, 0), 8)
    for link in (site.old, site.new):
        link.clogged = False
    site.handout.update(1.0)
    assert (site.handout.held, sum(site.counts)) == (0, 8)


def test_without_a_canary_the_share_is_over(site: Site) -> None:
    site.new.handle.state = State.DRAINING
    site.handout.unite()
    site.come(5)
    assert site.counts == (5, 0)
