"""What the admin asks the master for, and how seldom, however many watch."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import msgspec
import pytest

from prefork.control.async_client import Silent
from prefork.control.history import History
from prefork.control.queries import without_queries
from prefork.control.scrape import Scrape
from prefork.control.status import ServerStatus
from prefork.control.view import EVENT_PAGE, EventLog, View
from prefork.errors import CommandError
from tests.control.statuses import slot, status

CLIENTS = 50


class Master:
    """Answers at once, or when it is told to."""

    def __init__(self) -> None:
        self.status: ServerStatus = status()
        self.asked: Counter[str] = Counter()
        self.events: list[dict[str, object]] = []
        self.waiting = 0
        self.fails: CommandError | None = None
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.came = asyncio.Event()  # a question

    async def ask(self, command: str, arguments: Mapping[str, object], seconds: float | None) -> bytes:
        self.asked[command] += 1
        self.came.set()
        self.waiting += 1
        await self.may_answer.wait()
        self.waiting -= 1
        if self.fails is not None:
            raise self.fails
        return msgspec.json.encode(self._answer(command, arguments))

    def _answer(self, command: str, arguments: Mapping[str, Any]) -> object:
        if command == "status":
            return self.status
        if command == "events":
            later = [event for event in self.events if int(str(event["number"])) > arguments["since"]]
            return later[: arguments["limit"]]
        if command == "connections":
            assert arguments == {"requests": True}  # workers are not asked
            return {"requests": [{"slot": 0, "request": "GET /slow"}], "clients": []}
        return [] if command == "jobs" else f"{command} is done"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Here:
    """A view of a master, on a clock of its own."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.master, self.other = Master(), Master()
        self.scraped: list[bool] = []
        self.weighed = 0
        self.view = View(self.master, [self.other], History(), self._expose, self._weigh, self.clock)

    def _expose(self, openmetrics: bool, status: ServerStatus | None) -> bytes:
        self.scraped.append(openmetrics)
        return b"openmetrics" if openmetrics else b"text"

    def _weigh(self, pid: int) -> int:
        assert pid == 99
        self.weighed += 1
        return 4096

    async def look(self, now: float, **changed: Any) -> None:
        self.clock.now += now - self.master.status.now
        self.master.status = status(now, **changed)
        await self.view.look()

    async def live(self, sample: float = 0.0, event: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(b"".join(await self.view.live(sample, event)))
        return found


def run(test: Callable[[Here], Awaitable[None]]) -> None:
    async def alone() -> None:
        await test(Here())

    asyncio.run(alone())


def test_each_look_a_second_makes_a_sample_and_those_between_make_none() -> None:
    async def test(here: Here) -> None:
        await here.look(1000.0)
        await here.look(1000.3, slots=[slot(0, 5)])  # hurried
        await here.look(1001.0, slots=[slot(0, 10)])
        await here.look(1002.0, slots=[slot(0, 30)])
        assert [(one["at"], one["requests"]) for one in (await here.live())["samples"]] == [
            (1001.0, 10.0),
            (1002.0, 20.0),
        ]
        assert here.view.status is not None
        assert here.view.status.now == 1002.0

    run(test)


def test_a_clock_that_was_set_back_begins_anew() -> None:
    async def test(here: Here) -> None:
        await here.look(1000.0)
        await here.look(500.0, slots=[slot(0, 10)])
        await here.look(501.0, slots=[slot(0, 13)])
        assert [(one["at"], one["requests"]) for one in (await here.live())["samples"]] == [(501.0, 3.0)]

    run(test)


def test_many_dashboards_cost_the_master_as_much_as_one() -> None:
    async def test(here: Here) -> None:
        await here.look(1000.0)
        for _ in range(3):
            found = await asyncio.gather(*(here.live() for _ in range(CLIENTS)))
            assert found[0]["requests"] == [{"slot": 0, "request": "GET /slow"}]
        assert here.master.asked == {"status": 1, "connections": 1, "jobs": 1, "events": 1}
        here.clock.now += 1.0
        await asyncio.gather(*(here.live() for _ in range(CLIENTS)))
        assert here.master.asked["connections"] == 2

    run(test)


def test_details_are_asked_for_only_while_somebody_looks() -> None:
    async def test(here: Here) -> None:
        for second in range(10):
            await here.look(1000.0 + second)
        assert here.master.asked == {"status": 10}

    run(test)


def test_a_dashboard_that_leaves_does_not_end_what_others_wait_for() -> None:
    async def test(here: Here) -> None:
        await here.look(1000.0)
        here.master.may_answer.clear()
        first, second = asyncio.create_task(here.live()), asyncio.create_task(here.live())
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        here.master.may_answer.set()
        assert (await second)["step"] == 1.0
        assert here.master.asked["connections"] == 1

    run(test)


def test_events_come_once_and_in_order_to_each_dashboard() -> None:
    async def test(here: Here) -> None:
        await here.look(1000.0)
        here.master.events = [{"number": number, "text": "a line"} for number in range(1, EVENT_PAGE + 11)]
        numbers = [event["number"] for event in (await here.live())["events"]]
        assert numbers == list(range(1, EVENT_PAGE + 11))
        assert (await here.live(event=EVENT_PAGE + 10))["events"] == []
        here.master.events.append({"number": EVENT_PAGE + 20, "text": "a line"})  # others of its kind were dropped
        here.clock.now += 1.0
        assert [event["number"] for event in (await here.live(event=EVENT_PAGE))["events"]][-1] == EVENT_PAGE + 20

    run(test)


def test_old_events_make_room() -> None:
    log = EventLog(most=100)
    for number in range(1, 20):
        log.add([msgspec.Raw(msgspec.json.encode({"number": number, "text": "twenty bytes of it"}))])
    assert [json.loads(event)["number"] for event in log.later(0)] == [18, 19]
    assert log.last == 19


def test_the_memory_is_summed_every_few_seconds_and_stands_in_one_sample_each() -> None:
    async def test(here: Here) -> None:
        for second in range(11):
            await here.look(1000.0 + second)
            if here.view._weighing is not None:
                await here.view._weighing
        found = [one["pss"] for one in (await here.live())["samples"]]
        assert found == [None, 4096, None, None, None, None, 4096, None, None, None]
        assert here.weighed == 2

    run(test)


def test_a_master_that_does_not_answer_is_asked_once_and_told_how_long() -> None:
    async def test(here: Here) -> None:
        await here.look(1000.0)
        assert here.view.silent == 0.0
        here.master.may_answer.clear()
        looking = asyncio.create_task(here.view.look())
        await asyncio.sleep(0)
        here.clock.now += 7.0
        assert here.view.silent == 7.0
        assert here.master.asked["status"] == 2
        here.master.may_answer.set()
        await looking
        assert here.view.silent == 0.0

    run(test)


def test_a_command_goes_to_whom_the_fewest_wait_for_and_its_effect_is_looked_at() -> None:
    async def test(here: Here) -> None:
        await here.look(1000.0)
        watching = asyncio.create_task(here.view.watch())
        await asyncio.sleep(0)
        here.master.came.clear()
        assert await here.view.command("reload", {}) == b'"reload is done"'
        assert (here.master.asked["reload"], here.other.asked["reload"]) == (0, 1)
        await here.master.came.wait()
        assert here.master.asked["status"] == 3
        watching.cancel()

    run(test)


def test_a_master_that_is_gone_ends_the_watch_and_one_that_refuses_does_not() -> None:
    async def test(here: Here) -> None:
        await here.look(1000.0)
        here.master.fails = CommandError("the server could not do this")
        await here.view.look()
        assert here.view.status is not None
        here.master.fails = Silent("the master has hung up")
        with pytest.raises(Silent):
            await here.view.watch()

    run(test)


def test_many_scrapes_a_second_are_one_computation() -> None:
    async def test(here: Here) -> None:
        for _ in range(3):
            assert set(await asyncio.gather(*(here.view.metrics(False) for _ in range(CLIENTS)))) == {b"text"}
        assert await here.view.metrics(True) == b"openmetrics"
        assert here.scraped == [False, True]
        here.clock.now += 1.0
        await here.view.metrics(False)
        assert here.scraped == [False, True, False]
        assert not here.master.asked

    run(test)


def test_a_scrape_that_failed_is_tried_again_at_once() -> None:
    async def test() -> None:
        outcomes: Iterator[Exception | bytes] = iter([OSError("no memory"), b"text"])

        def expose(openmetrics: bool) -> bytes:
            outcome = next(outcomes)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        scrape = Scrape(expose, Clock())
        with pytest.raises(OSError, match="no memory"):
            await scrape.text(False)
        assert await scrape.text(False) == b"text"

    asyncio.run(test())


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("lost with worker 0: GET /pay?card=42&pin=1, after 0.1 s", "lost with worker 0: GET /pay?… after 0.1 s"),
        ('lost: POST /a"b?c="d"&e=f\\g end', 'lost: POST /a"b?… end'),
        ("GET http://x/y?z=1", "GET http://x/y?…"),
        ("is it ready?yes", "is it ready?yes"),
        ("why? GET /plain", "why? GET /plain"),
    ],
)
def test_no_query_leaves_whatever_is_in_it(text: str, left: str) -> None:
    shown = json.loads(without_queries(json.dumps({"text": text, "fields": {"request": text}}).encode()))
    assert shown == {"text": left, "fields": {"request": left}}
