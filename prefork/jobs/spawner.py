"""Ask another process to fork and end offloaders: the master, or outside of a prefork server the nursery."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from prefork.messages import EndOffloader, Message, OffloaderForked, OffloaderGone, WantOffloader
from prefork.system.channel import Channel, ChannelClosed

RETRY_SECONDS: Final = 0.01  # its queue is full, and nothing tells when it reads


class ChannelSpawner:
    """Sends orders through a channel. Who reads the channel passes what is for us to `hear`."""

    def __init__(self, channel: Channel, loop: asyncio.AbstractEventLoop) -> None:
        self.on_forked: Callable[[int, int], None] = lambda number, pid: None
        self.on_gone: Callable[[int, int | None, bool, str], None] = lambda number, status, oom, reason: None
        self._channel = channel
        self._loop = loop
        self._unsent: deque[tuple[Message, Sequence[int]]] = deque()

    def order(self, number: int, descriptors: Sequence[int]) -> None:
        self._send(WantOffloader(number), descriptors)

    def end(self, number: int, grace: float) -> None:
        self._send(EndOffloader(number, grace))

    def close(self) -> None:
        """The channel is not ours to close."""

    def hear(self, message: Message) -> None:
        if isinstance(message, OffloaderForked):
            self.on_forked(message.number, message.pid)
        elif isinstance(message, OffloaderGone):
            self.on_gone(message.number, message.status, message.out_of_memory, message.reason)

    def _send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
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
