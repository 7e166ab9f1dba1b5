"""A job as the one who submitted it holds it: await its result, read its items, follow its progress, cancel it."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Generator
from time import monotonic
from typing import Any, Final, NamedTuple, Protocol

from prefork.core.job import MOVES, Event, State, move
from prefork.errors import OffloadError
from prefork.jobs.options import Terms
from prefork.jobs.payload import Payload

ITEMS: Final = 16  # of a stream that wait for their reader; past them the generator is paused
REPORTS: Final = 64  # of progress that nobody has read; the oldest are dropped

_WAITING: Final = State.WAITING  # an enum's members are slow to look up


class Progress(NamedTuple):
    """How far a job has come, in its own words: `offload.progress(fraction, note)`."""

    fraction: float
    note: str


class Owner(Protocol):
    """Who runs the job."""

    def cancel(self, job: "Job") -> None:
        """End it, whatever it does."""

    def resume(self, job: "Job") -> None:
        """Its reader has caught up."""


class Job:
    """A job. `await job` gives its result, or raises what it raised, or an OffloadError."""

    __slots__ = (
        "__weakref__",
        "_items",
        "_news",
        "_owner",
        "_reports",
        "deadline",
        "deaths",
        "given_at",
        "name",
        "number",
        "outcome",
        "paused",
        "payload",
        "priority",
        "request",
        "sent",
        "state",
        "stream",
        "submitted_at",
        "terms",
    )

    def __init__(
        self,
        owner: Owner,
        number: int,
        name: str,
        payload: Payload,
        terms: Terms,
        deadline: float,
        stream: bool,
        outcome: "asyncio.Future[Any]",
    ) -> None:
        """`deadline` on the loop's clock. `stream`: it may send items before its result."""
        self._owner = owner
        self.number = number
        self.name = name  # of its function
        self.payload = payload
        self.terms = terms
        self.priority = terms.priority
        self.deadline = deadline
        self.stream = stream
        self.outcome = outcome
        self.request: str | None = None  # id of the one it belongs to
        self.state: State = _WAITING
        self.deaths = 0  # of processes under it
        self.submitted_at = monotonic()
        self.given_at = 0.0  # to a process, by the same clock; 0: it waits
        self.sent = False  # items: it cannot be run again unseen
        self.paused = False
        self._items: deque[Any] | None = deque() if stream else None
        self._reports: deque[Progress] | None = None
        self._news: asyncio.Event | None = None  # an item or a report has come, or the end

    def __repr__(self) -> str:
        return f"<Job {self.number} {self.name} {self.state.value}>"

    def __await__(self) -> Generator[Any, None, Any]:
        try:
            return (yield from self.outcome)
        except asyncio.CancelledError:
            self.cancel()
            raise

    def cancel(self) -> None:
        """End it: drop it if it waits, end its processes if it runs. Nothing if it is over."""
        self._owner.cancel(self)  # which knows: `outcome` is cancelled before we are, when its waiter is

    def abandon(self) -> None:
        """Cancel it, and leave what it raised unsaid: another error, or its reader's leaving, was first."""
        self.cancel()
        if self.outcome.done() and not self.outcome.cancelled():
            self.outcome.exception()

    async def progress(self) -> AsyncIterator[Progress]:
        """Its reports as they come, until it is over. Where they come faster than they are read, the oldest go."""
        if self._reports is None:
            self._reports = deque(maxlen=REPORTS)
        while not self.outcome.done() or self._reports:
            if self._reports:
                yield self._reports.popleft()
            else:
                await self._wait_news()

    async def receive(self) -> tuple[bool, Any]:
        """The next item and True, or at the end the result and False. Raises what the job raised."""
        items = self._items
        assert items is not None
        while not items and not self.outcome.done():
            await self._wait_news()
        if items:
            item = items.popleft()
            if self.paused and len(items) <= ITEMS // 2:
                self._owner.resume(self)
            return True, item
        return False, await self.outcome

    # -- what the pool reports

    def apply(self, event: Event) -> None:
        self.state = MOVES.get((self.state, event)) or move(self.state, event)

    def add_item(self, item: Any) -> bool:
        """Returns whether there is room for more."""
        if self._items is None:
            return True
        self.sent = True
        self._items.append(item)
        self._tell()
        return len(self._items) < ITEMS

    def add_report(self, report: Progress) -> None:
        if self._reports is not None:
            self._reports.append(report)
            self._tell()

    def end(self, value: Any) -> None:
        self._forget()
        if not self.outcome.done():
            self.outcome.set_result(value)

    def fail(self, error: BaseException) -> None:
        self._forget()
        if not self.outcome.done():
            self.outcome.set_exception(error)
            if isinstance(error, OffloadError):
                self.outcome.exception()  # looked at: it is in the log; of another, asyncio tells if nobody looks

    def _forget(self) -> None:
        self.payload = Payload(b"", ())  # which may hold large buffers of the caller's
        self._tell()

    def _tell(self) -> None:
        if self._news is not None:
            self._news.set()

    async def _wait_news(self) -> None:
        self._news = self._news or asyncio.Event()
        self._news.clear()
        await self._news.wait()
