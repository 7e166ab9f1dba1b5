"""How many children run at a time: the others wait for their turn, in order, and not for ever."""

import asyncio
from collections import deque
from math import ceil

from prefork.errors import ChildrenBusy


class Places:
    """So many places; whoever takes one frees it."""

    def __init__(self, most: int, wait_seconds: float) -> None:
        """`wait_seconds`: how long one waits for a place at most."""
        self.most = most
        self.taken = 0
        self._wait_seconds = wait_seconds
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self) -> None:
        """Take a place, after those who wait already. Raises ChildrenBusy when none became free in time."""
        if self.taken < self.most and not self._waiting:
            self.taken += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(self._wait_seconds):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self.free()  # it was given to us while we went away
            elif turn in self._waiting:
                self._waiting.remove(turn)
            if isinstance(error, TimeoutError):
                raise ChildrenBusy(
                    f"{self.most} children run, as many as max_children allows, and none ended within "
                    f"{self._wait_seconds:g} s",
                    max(1, ceil(self._wait_seconds)),
                ) from None
            raise

    def free(self) -> None:
        """Give a place up: who has waited longest gets it."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.taken -= 1
