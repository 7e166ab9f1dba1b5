"""What is ordered from a nursery, and what becomes of it when that dies. No process here: the test plays nurseries."""

import asyncio
from types import SimpleNamespace
from typing import Any

from prefork.jobs.standalone import NurserySpawner
from prefork.messages import WantProcess
from prefork.settings import Settings
from prefork.system.channel import Channel
from tests.processes.patience import GUARD_SECONDS

ORDERS = 1000  # more than a channel holds


class PlayedNurseries(NurserySpawner):
    """`channels` are the nurseries' ends, in the order in which they were started."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.channels: list[Channel] = []
        super().__init__(loop, Settings(), [])

    def _start(self) -> None:
        self.channels.append(self._theirs)
        self._process: Any = SimpleNamespace(wait=lambda: 0)
        self._loop.add_reader(self._channel.fileno(), self._read)


async def first_message(channel: Channel) -> Any:
    """What the nursery is told first."""
    async with asyncio.timeout(GUARD_SECONDS):
        while (received := channel.receive()) is None:  # noqa: ASYNC110
            await asyncio.sleep(0)
    return received[0]


def test_what_a_nursery_was_to_fork_when_it_died_is_not_forked_by_the_next() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        spawner = PlayedNurseries(loop)
        gone: list[int] = []
        all_gone = loop.create_future()

        def note(number: int, *_: object) -> None:
            gone.append(number)
            if len(gone) == ORDERS:
                all_gone.set_result(None)

        spawner.on_gone = note
        for number in range(ORDERS):
            spawner.order(number, [])
        spawner.channels[0].close()
        async with asyncio.timeout(GUARD_SECONDS):
            await all_gone
        spawner.order(ORDERS, [])
        assert await first_message(spawner.channels[1]) == WantProcess("offloader", ORDERS)
        spawner.close()
        spawner.channels[1].close()

    asyncio.run(main())
