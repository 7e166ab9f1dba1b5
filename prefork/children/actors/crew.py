"""The processes of an actor as one event loop knows them: it gives them calls, and neither starts nor ends them."""

import asyncio
import os
import socket
from collections.abc import Callable

from prefork.jobs.crew import Crew
from prefork.jobs.offloaders import OffloaderHandle
from prefork.messages import ActorUp
from prefork.system.board import Board


class Nobody:
    """In the place of who forks offloaders for a pool: an actor's processes are there without it."""

    def __init__(self) -> None:
        self.on_forked: Callable[[int, int], None] = lambda number, pid: None
        self.on_gone: Callable[[int, int | None, bool, str], None] = lambda number, status, oom, reason: None

    def order(self, number: int, descriptors: list[int]) -> None:
        raise AssertionError("an actor's crew orders nobody")

    def end(self, number: int, grace: float) -> None:
        raise AssertionError("an actor's crew ends nobody")

    def close(self) -> None:
        """Nothing is ours."""


class ActorHandle(OffloaderHandle):
    """The record of one process of an actor. Others give it calls too: its board tells how many, and since when the one
    that runs has been running."""

    kind = "actor process"

    def __init__(self, up: ActorUp, descriptors: list[int]) -> None:
        """`descriptors` as they come with the message; they are ours from now on."""
        end, far, stacks, board = descriptors
        super().__init__(up.process, socket.socket(fileno=end), socket.socket(fileno=far), stacks)
        self.end.setblocking(False)
        self.pid = up.pid
        self.ready = True
        self.seat = up.seat
        self.overdue = False  # it is to be ended
        self.slow_turn = -1  # its board's `turns` with a call that held others up
        self.probed = False  # it is being looked at whether it hangs
        self.board = Board(board)
        os.close(board)

    @property
    def slow(self) -> bool:
        """Whether the call that runs there is known to hold others up."""
        return self.slow_turn == self.board.turns and self.board.load > 0

    def tell_load(self) -> None:
        """Let others see what it was given from here."""
        self.board.hold(self.seat, len(self.given))

    def close(self) -> None:
        super().close()
        self.board.close()


class ActorCrew(Crew):
    """The processes we know of. Who starts and lets them go is the one who minds them for all."""

    def grow(self, waiting: int, nice: int) -> None:
        """Their number is fixed."""

    def refill(self) -> None:
        """They are started again without us."""

    def let_go_surplus(self, handle: OffloaderHandle) -> None:
        """There is none: others decide how many there are."""

    async def close(self) -> None:
        """They may live on: for others, or to end in order."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._empty = asyncio.Event()
        for handle in list(self.handles.values()):
            handle.leaving = True
            self._changed(handle)
            del self.handles[handle.number]
            handle.hang_up()
            if handle.copying:
                handle.when_copied = handle.close
            else:
                handle.close()
        self._spawner.close()
