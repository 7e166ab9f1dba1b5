"""Ask another process to fork and end processes for us: the master, or outside of a prefork server the nursery."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from prefork.messages import EndProcess, Message, ProcessForked, ProcessGone, WantProcess
from prefork.system.channel import Channel, ChannelClosed

RETRY_SECONDS: Final = 0.01  # its queue is full, and nothing tells when it reads


class ChannelSpawner:
    """Sends the orders for processes of one role through a channel. Who reads the channel lets us `hear` it all."""

    def __init__(self, channel: Channel, loop: asyncio.AbstractEventLoop, role: str) -> None:
        self.role = role
        self.on_forked: Callable[[int, int], None] = lambda number, pid: None
        self.on_gone: Callable[[int, int | None, bool, str], None] = lambda number, status, oom, reason: None
        self.on_message: Callable[[Message, list[int]], None] | None = None  # of another kind, with its descriptors
        self.on_lost: Callable[[str], None] | None = None  # who forks for us is gone, for that reason, with all it had
        self._channel = channel
        self._loop = loop
        self._unsent: deque[tuple[Message, Sequence[int]]] = deque()

    def order(self, number: int, descriptors: Sequence[int]) -> None:
        self.send(WantProcess(self.role, number), descriptors)

    def end(self, number: int, grace: float) -> None:
        self.send(EndProcess(self.role, number, grace))

    def close(self) -> None:
        """The channel is not ours to close."""

    def hear(self, message: Message, descriptors: list[int]) -> None:
        if not isinstance(message, ProcessForked | ProcessGone):
            if self.on_message is not None:
                self.on_message(message, descriptors)
        elif message.role != self.role:
            pass
        elif isinstance(message, ProcessForked):
            self.on_forked(message.number, message.pid)
        else:
            self.on_gone(message.number, message.status, message.out_of_memory, message.reason)

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Send a message, now or as soon as there is room. The descriptors stay the caller's, who keeps them open."""
        self._unsent.append((message, descriptors))
        if len(self._unsent) == 1:
            self._flush()

    def _flush(self) -> None:
        try:
            while self._unsent:
                if not self._channel.send(*self._unsent[0]):
                    self._loop.call_later(RETRY_SECONDS, self._flush)
                    return
                self._unsent.popleft()
        except ChannelClosed:
            self._unsent.clear()  # whoever could have obeyed is gone
