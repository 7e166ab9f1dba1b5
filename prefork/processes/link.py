"""What the master holds of a child: channel, the pipe of its stacks, and of a worker also the hand-out queue."""

import os
from typing import Final

from prefork.core.roster import WorkerHandle
from prefork.system import handoff, scoreboard
from prefork.system.channel import Channel, seqpacket_pair
from prefork.system.handoff import Passed

STACKS_BYTES: Final = 64 * 1024  # a pipe's capacity, see pipe(7)


class Stacks:
    """The reading end of a pipe into which faulthandler writes the child's Python stacks."""

    def __init__(self) -> None:
        self._read, self.write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._text = b""

    def fileno(self) -> int:
        return self._read

    def pull(self) -> bool:
        """Read what has come: faulthandler writes a dump in many small pieces. False at the end of the pipe."""
        try:
            piece = os.read(self._read, STACKS_BYTES)
        except BlockingIOError:
            return True
        self._text += piece
        return bool(piece)

    def pop(self) -> str:
        """What has come since the last call."""
        text, self._text = self._text, b""
        return text.decode("utf-8", "replace").rstrip()

    def forget_write_end(self) -> None:
        os.close(self.write_end)

    def close(self) -> None:
        os.close(self._read)


class WorkerLink:
    """The master's side of a worker's descriptors."""

    def __init__(self, handle: WorkerHandle, connections: int) -> None:
        self.handle = handle
        self.channel, self._worker_channel = Channel.pair()
        self._queue, self._unread = seqpacket_pair()
        self.stacks = Stacks()
        self._board_descriptor = scoreboard.create(connections)
        self.board = scoreboard.Scoreboard(self._board_descriptor, connections)
        self._connections = connections

    def worker_descriptors(self) -> list[int]:
        """What the worker is to own: channel, receiving end of the hand-out queue, stacks, scoreboard."""
        return [
            self._worker_channel.fileno(),
            self._unread.fileno(),
            self.stacks.write_end,
            self._board_descriptor,
        ]

    def forget_worker_ends(self) -> None:
        """The worker has its own copies now. The receiving end of the queue stays: it outlives the worker."""
        self._worker_channel.close()
        self.stacks.forget_write_end()
        os.close(self._board_descriptor)

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
        return unread

    def close(self) -> None:
        self.channel.close()
        self._queue.close()
        self._unread.close()
        self.stacks.close()
        self.board.close()
