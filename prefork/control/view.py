"""What the admin knows of its server: it asks the master once a second, however many watch."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec
from msgspec import Raw, Struct

from prefork.control.async_client import Silent
from prefork.control.history import STEP_SECONDS, History, sample
from prefork.control.queries import without_queries
from prefork.control.scrape import Scrape
from prefork.control.status import ServerStatus
from prefork.errors import CommandError
from prefork.system.seldom import Seldom

DETAIL_SECONDS: Final = 5.0  # for what the master answers from its books at once
COMMAND_SECONDS: Final = 60.0  # some wait for workers
MEMORY_SECONDS: Final = 5.0  # between two sums of the memory: the kernel walks all mappings for it
SHORTEST_SECONDS: Final = 0.05  # between two looks, however often something changes
PART_OF_STEP: Final = 0.8  # a look that comes so much of a step after the last sample makes another
EVENT_PAGE: Final = 500  # events in one answer
EVENT_BYTES: Final = 4 * 1024 * 1024  # of all that are kept here; about what the master's ring holds

_log = logging.getLogger("prefork.admin")


class Master(Protocol):
    """One who asks the master: an AsyncClient."""

    @property
    def waiting(self) -> int: ...

    def ask(self, command: str, arguments: Mapping[str, object], seconds: float | None) -> Awaitable[bytes]: ...


class View:
    """The latest of everything, and who gets it. A `site.Source`."""

    def __init__(
        self,
        asker: Master,
        others: Sequence[Master],
        history: History,
        expose: Callable[[bool, ServerStatus | None], bytes] | None,
        memory: Callable[[int], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`asker` asks for what is answered at once, `others` do what may take a while. `expose` computes what /metrics
        answers, see `Scrape`; None: nothing is counted. `memory(pid)` is that of the master's tree in bytes."""
        self.status: ServerStatus | None = None
        self.status_json = b"null"
        self._asker = asker
        self._others = others
        self._history = history
        self._scrape = None if expose is None else Scrape(lambda openmetrics: expose(openmetrics, self.status), clock)
        self._memory = memory
        self._clock = clock
        self._asked_at: float | None = None  # the question that has no answer yet
        self._sampled: ServerStatus | None = None
        self._weighed_at = -MEMORY_SECONDS
        self._weighing: asyncio.Task[int] | None = None
        self._hurry = asyncio.Event()
        self._events = EventLog()
        self._details = (b"[]", b"[]")  # requests, jobs
        self._looking: asyncio.Task[None] | None = None  # at the details
        self._looked_at = -STEP_SECONDS
        self.seen = asyncio.Event()  # there is a status
        self._complain = Seldom(_log, logging.WARNING)

    @property
    def silent(self) -> float:
        return 0.0 if self._asked_at is None else self._clock() - self._asked_at

    def hurry(self) -> None:
        """Something has changed: look now."""
        self._hurry.set()

    async def watch(self) -> None:
        """Look once a second, and when there is a reason to hurry. Ends with Silent when the master is gone."""
        while True:
            begun = self._clock()
            await self.look()
            await asyncio.sleep(SHORTEST_SECONDS)
            try:
                async with asyncio.timeout(max(0.0, begun + STEP_SECONDS - self._clock())):
                    await self._hurry.wait()
            except TimeoutError:
                pass
            self._hurry.clear()

    async def look(self) -> None:
        """Ask for the status, wait for it as long as it takes, and make a sample if it is time. Raises Silent."""
        self._asked_at = self._clock()
        try:
            text = await self._asker.ask("status", {}, None)
        except Silent:
            raise
        except CommandError as error:
            self._complain(f"the master does not tell its status: {error}")
            return
        finally:
            self._asked_at = None
        self.status, self.status_json = msgspec.json.decode(text, type=ServerStatus), text
        self.seen.set()
        before = self._sampled
        if before is None:
            self._sampled = self.status
        elif not 0 <= self.status.now - before.now < PART_OF_STEP * STEP_SECONDS:
            self._sampled = self.status
            made = sample(before, self.status, self._weighed())
            if made is not None:
                self._history.add(made)

    def _weighed(self) -> int | None:
        """The memory of the tree, if it was summed since the last call; every few seconds it is."""
        found = None
        if self._weighing is not None and self._weighing.done():
            found = self._weighing.result()
            self._weighing = None
        if self._weighing is None and self.status and self._clock() >= self._weighed_at + MEMORY_SECONDS:
            self._weighed_at = self._clock()
            self._weighing = asyncio.create_task(asyncio.to_thread(self._memory, self.status.pid))
        return found or None

    # -- what the site asks

    async def live(self, sample: float, event: int) -> list[bytes]:
        await self._look_at_details()
        requests, jobs = self._details
        return [
            *(b'{"status":', self.status_json),
            *(b',"samples":[', *_separated(self._history.newer(sample))),
            *(b'],"step":', msgspec.json.encode(STEP_SECONDS)),
            *(b',"requests":', requests),
            *(b',"jobs":', jobs),
            *(b',"events":[', *_separated(self._events.later(event))),
            b"]}",
        ]

    async def metrics(self, openmetrics: bool) -> bytes | None:
        return None if self._scrape is None else await self._scrape.text(openmetrics)

    async def command(self, name: str, arguments: Mapping[str, object]) -> bytes:
        asker = min(self._others, key=lambda other: other.waiting)
        result = await asker.ask(name, arguments, COMMAND_SECONDS)
        self.hurry()
        self._looked_at = -STEP_SECONDS
        return without_queries(result)

    # -- the details, which nobody is asked for while nobody looks

    async def _look_at_details(self) -> None:
        """They are at most a step old then. Who comes while they are asked for waits for the same."""
        if self._looking is None or self._looking.done():
            if self._clock() < self._looked_at + PART_OF_STEP * STEP_SECONDS:
                return
            self._looking = asyncio.create_task(self._ask_details())
        await asyncio.shield(self._looking)

    async def _ask_details(self) -> None:
        self._looked_at = self._clock()
        ask = self._asker.ask
        requests, jobs, _ = await asyncio.gather(
            ask("connections", {"requests": True}, DETAIL_SECONDS),
            ask("jobs", {}, DETAIL_SECONDS),
            self._ask_events(),
        )
        self._details = bytes(msgspec.json.decode(requests, type=_Requests).requests), without_queries(jobs)

    async def _ask_events(self) -> None:
        while True:
            arguments = {"since": self._events.last, "limit": EVENT_PAGE}
            events = without_queries(await self._asker.ask("events", arguments, DETAIL_SECONDS))
            page = msgspec.json.decode(events, type=list[Raw])
            self._events.add(page)
            if len(page) < EVENT_PAGE:
                return


class EventLog:
    """The master's events as they came, the latest that fit."""

    def __init__(self, most: int = EVENT_BYTES) -> None:
        self.last = 0  # number
        self._kept: deque[tuple[int, bytes]] = deque()
        self._most = most
        self._bytes = 0

    def add(self, events: Sequence[Raw]) -> None:
        for event in events:
            self.last = msgspec.json.decode(event, type=_Numbered).number
            self._kept.append((self.last, bytes(event)))
            self._bytes += len(event)
        while self._bytes > self._most:
            self._bytes -= len(self._kept.popleft()[1])

    def later(self, number: int) -> list[bytes]:
        """Those with a greater number, the oldest first."""
        return [event for other, event in self._kept if other > number]


def _separated(items: Sequence[bytes]) -> list[bytes]:
    """With commas between them."""
    return [piece for item in items for piece in (b",", item)][1:]


class _Requests(Struct):
    requests: Raw


class _Numbered(Struct):
    number: int
