"""The master's side of a mold: forking it, ordering workers from it, letting it go."""

import logging
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass

from prefork.messages import Fork
from prefork.processes.link import Stacks, WorkerLink
from prefork.system.channel import Channel, ChannelClosed
from prefork.system.listeners import Listener

_log = logging.getLogger("prefork.molds")


@dataclass(eq=False)
class MoldHandle:
    """What was reported of one mold. Times are monotonic seconds."""

    generation: int
    ordered_at: float
    pid: int
    channel: Channel
    stacks: Stacks
    ready: bool = False
    explained: bool = False  # it has said why it cannot boot
    killed: bool = False
    released: bool = False

    def __str__(self) -> str:
        return f"mold (generation {self.generation}, pid {self.pid})"

    @property
    def booting(self) -> bool:
        return not self.ready and not self.killed

    def order(self, link: WorkerLink, listeners: list[Listener]) -> bool:
        """Order a worker. False when the mold cannot take orders any more."""
        handle = link.handle
        descriptors = [*link.worker_descriptors(), *(listener.socket.fileno() for listener in listeners)]
        try:
            sent = self.channel.send(Fork(handle.serial, handle.slot, handle.generation), descriptors)
        except ChannelClosed:
            sent = False
        link.forget_worker_ends()
        return sent

    def release(self) -> None:
        """Let it go: it ends when it has read the end of its channel."""
        self.released = True
        self.channel.close()
        self.stacks.close()

    def abort(self) -> None:
        """SIGABRT, which has faulthandler write its stacks."""
        self.killed = True
        os.kill(self.pid, signal.SIGABRT)

    def kill(self) -> None:
        self.killed = True
        os.kill(self.pid, signal.SIGKILL)


def fork_mold(generation: int, now: float, body: Callable[[Channel, int], None]) -> MoldHandle:
    """Fork a mold that runs `body(channel, stacks)`, which never returns. For the master only: it has no threads."""
    ours, theirs = Channel.pair()
    stacks = Stacks()
    pid = os.fork()
    if pid == 0:
        try:
            body(theirs, stacks.write_end)
        except BaseException:
            _log.exception("cannot run a mold")
        finally:
            os._exit(1)  # never up into the master's frames
    theirs.close()
    stacks.forget_write_end()
    return MoldHandle(generation, now, pid, ours, stacks)
