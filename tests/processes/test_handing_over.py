"""The hand-out of a master whose listeners are another's, too: before it serves, and when it leaves."""

import os
import selectors
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from prefork.core.balancing import BALANCES
from prefork.errors import BindError
from prefork.processes.handout import HandOut
from prefork.system.handoff import Passed
from prefork.system.listeners import Left, Listener, Loan, open_listeners
from tests.processes.patience import GUARD_SECONDS

BACKLOG = 16


class Heir:
    """Takes so many connections."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.got: list[Passed] = []

    def give(self, connections: list[Passed]) -> list[Passed]:
        taken, left = connections[: self.room], connections[self.room :]
        self.room -= len(taken)
        self.got += taken
        return left

    def close(self) -> None:
        for passed in self.got:
            os.close(passed.descriptor)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def hand_out(listeners: list[Listener], stack: ExitStack) -> HandOut:
    selector = stack.enter_context(selectors.DefaultSelector())
    handout = HandOut(listeners, BALANCES["round-robin"](), {}, 10, BACKLOG, selector)
    stack.callback(handout.close)
    stack.callback(handout.reset_waiting)
    return handout


def lent(listener: Listener, loan: Loan) -> Left:
    return Left(os.dup(listener.fileno()), listener.socket.family, listener.shared, listener.file, loan)


def connect(listener: Listener, stack: ExitStack) -> socket.socket:
    client = stack.enter_context(socket.socket(listener.socket.family))
    client.settimeout(GUARD_SECONDS)
    client.connect(listener.socket.getsockname())
    return client


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_a_new_master_that_gives_up_leaves_the_listeners_of_the_old_as_they_are(
    stack: ExitStack, tmp_path: Path, kind: str
) -> None:
    bind = "127.0.0.1:0" if kind == "tcp" else f"unix:{tmp_path}/http.sock"
    (old,) = open_listeners([bind], BACKLOG, False)
    stack.callback(old.close)
    waiting = connect(old, stack)
    (new,) = open_listeners([bind], BACKLOG, False, left=lambda _: lent(old, Loan()))
    assert new.bind == old.bind
    handout = hand_out([new], stack)
    handout.hold([new], {})
    handout.update(0.0)
    handout.close()
    connect(old, stack)
    for _ in range(2):
        accepted, _ = old.socket.accept()
        accepted.close()
    assert waiting.recv(1) == b""
    if kind == "unix":
        assert (tmp_path / "http.sock").exists()


def test_a_failed_start_leaves_them_too(stack: ExitStack, tmp_path: Path) -> None:
    bind = f"unix:{tmp_path}/http.sock"
    (old,) = open_listeners([bind], BACKLOG, False)
    stack.callback(old.close)
    with pytest.raises(BindError):
        open_listeners(
            [bind, "unix:/no/such/folder/x"], BACKLOG, False, left=lambda b: lent(old, Loan()) if b == bind else None
        )
    connect(old, stack)


def test_a_socket_file_is_the_new_masters_once_it_serves(stack: ExitStack, tmp_path: Path) -> None:
    bind = f"unix:{tmp_path}/http.sock"
    (old,) = open_listeners([bind], BACKLOG, False)
    loan = Loan()
    (new,) = open_listeners([bind], BACKLOG, False, left=lambda _: lent(old, loan))
    old.close()
    new.unlink()
    assert (tmp_path / "http.sock").exists()
    loan.lent = False
    new.unlink()
    new.close()
    assert not (tmp_path / "http.sock").exists()


def test_what_waits_goes_to_the_heir_as_it_has_room(stack: ExitStack) -> None:
    kept, gone = open_listeners(["127.0.0.1:0", "127.0.0.1:0"], BACKLOG, False)
    inherited = kept.socket.dup()
    stack.callback(inherited.close)
    handout = hand_out([kept, gone], stack)
    stays = connect(kept, stack)  # in the backlog of one that goes on
    clients = [connect(gone, stack) for _ in range(3)]
    heir = Heir(room=2)
    stack.callback(heir.close)
    handout.leave_to(heir, [kept])
    assert [passed.listener for passed in heir.got] == [1, 1]
    before = handout.leaving
    handout.update(0.0)
    assert list(handout.deadlines(0.0)), "it tries again"
    heir.room = 5
    handout.update(1.0)
    assert (before, handout.leaving) == (True, False)
    assert len(heir.got) == len(clients)
    accepted, address = inherited.accept()
    accepted.close()
    assert address == stays.getsockname()


def test_without_an_heir_any_more_it_does_not_wait_for_one(stack: ExitStack) -> None:
    (listener,) = open_listeners(["127.0.0.1:0"], BACKLOG, False)
    handout = hand_out([listener], stack)
    client = connect(listener, stack)
    handout.leave_to(Heir(room=0), [])
    before = handout.leaving
    handout.leave_to_nobody()
    assert (before, handout.leaving) == (True, False)
    assert handout.reset_waiting() == 1
    assert client.recv(1) == b""
