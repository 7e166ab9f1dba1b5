"""What the master holds of a worker: channel, stacks, scoreboard, sheet, and both ends of the hand-out queue."""

import os

from prefork.core.roster import WorkerHandle
from prefork.metrics import ours
from prefork.processes.stacks import StacksPipe
from prefork.system import handoff, scoreboard, sheet
from prefork.system.channel import Channel, seqpacket_pair
from prefork.system.handoff import Passed


class WorkerLink:
    """The master's side of a worker's descriptors."""

    def __init__(self, handle: WorkerHandle, connections: int) -> None:
        """Make them. `connections` is how many the worker may hold."""
        self.handle = handle
        self.accepts = True  # from listeners of its own, if its slot has some
        self.channel, self._worker_channel = Channel.pair()
        self._queue, self._unread = seqpacket_pair()
        self.stacks = StacksPipe()
        self._board_descriptor = scoreboard.create(connections)
        self.board = scoreboard.Scoreboard(self._board_descriptor, connections)
        self._sheet_descriptor = sheet.create()
        self.sheet = sheet.Sheet(self._sheet_descriptor)

    def worker_descriptors(self) -> list[int]:
        """What the worker is to own, in the order `WorkerStart` reads."""
        return [
            self._worker_channel.fileno(),
            self._unread.fileno(),
            self.stacks.write_end,
            self._board_descriptor,
            self._sheet_descriptor,
        ]

    def forget_worker_ends(self) -> None:
        """The worker has its own copies now. The receiving end of the queue stays: it outlives the worker."""
        self._worker_channel.close()
        self.stacks.forget_write_end()
        os.close(self._board_descriptor)
        os.close(self._sheet_descriptor)

    @property
    def load(self) -> int:
        """Connections the worker holds or has been given."""
        return self.handle.handed + self.board.accepted - self.board.closed

    def give(self, connections: list[Passed]) -> bool:
        """Put connections into the worker's queue and let go of them. False: it is full, they are still ours."""
        if not handoff.put(self._queue, connections):
            return False
        self.handle.handed += len(connections)
        for connection in connections:
            os.close(connection.descriptor)
        return True

    def take_back(self) -> list[Passed]:
        """The connections the worker has not read; they are ours again."""
        unread: list[Passed] = []
        while batch := handoff.take(self._unread):
            unread += batch
        self.handle.handed -= len(unread)
        found = [passed for passed in unread if passed.descriptor != handoff.LOST]
        ours.taken_back.inc(len(found))
        return found

    def close(self) -> None:
        """Close all but the stacks, which `StacksLog.forget` closes."""
        self.channel.close()
        self._queue.close()
        self._unread.close()
        self.board.close()
        self.sheet.close()
