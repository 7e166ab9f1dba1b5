"""Workers that are asked for their connections: each owes one answer at a time, and who is late is named."""

import os
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec

from prefork.control.status import ClientStatus, ConnectionsReport
from prefork.core.lifecycle import State
from prefork.core.roster import WorkerHandle
from prefork.messages import Describe, Described, Message
from prefork.processes.descriptions import LIMIT_SECONDS, Descriptions
from prefork.processes.link import WorkerLink


@dataclass
class Channel:
    told: list[Message] = field(default_factory=list)

    def tell(self, message: Message) -> None:
        self.told.append(message)


class Link:
    """A worker's, without descriptors."""

    def __init__(self, slot: int, state: State = State.READY) -> None:
        self.handle = WorkerHandle(serial=slot + 10, slot=slot, generation=1, ordered_at=0.0, state=state)
        self.channel = Channel()

    def answer(self, descriptions: Descriptions, text: bytes, left_out: int = 0) -> None:
        descriptor = os.memfd_create("test")
        os.write(descriptor, text)
        asked = self.channel.told[-1]
        assert isinstance(asked, Describe)
        descriptions.hear(cast(WorkerLink, self), Described(asked.number, left_out), [descriptor])


def clients(slot: int, count: int) -> bytes:
    one = ClientStatus(slot=slot, client="127.0.0.1:1", state="idle", age=1.0, idle=1.0, requests=1)
    return msgspec.json.encode([one] * count)


class Answer:
    def __init__(self, descriptions: Descriptions, now: float = 0.0) -> None:
        self.reports: list[Any] = []
        descriptions.ask([], now).then(self.reports.append)

    @property
    def report(self) -> ConnectionsReport:
        (report,) = self.reports
        assert isinstance(report, ConnectionsReport)
        return report


def make(*links: Link) -> Descriptions:
    return Descriptions(cast(dict[int, WorkerLink], {link.handle.serial: link for link in links}))


def test_the_answer_comes_with_the_last_worker() -> None:
    first, second = Link(0), Link(1)
    descriptions = make(first, second)
    answer = Answer(descriptions)
    second.answer(descriptions, clients(1, 2))
    assert answer.reports == []
    first.answer(descriptions, clients(0, 1), left_out=5)
    assert [client.slot for client in answer.report.clients] == [0, 1, 1]
    assert (answer.report.left_out, answer.report.silent) == (5, [])
    assert list(descriptions.deadlines()) == []


def test_who_does_not_answer_in_time_is_named_and_not_asked_again_meanwhile() -> None:
    blocked, lively = Link(0), Link(1)
    descriptions = make(blocked, lively)
    for number in range(100):
        answer = Answer(descriptions, now=number)
        lively.answer(descriptions, clients(1, 1))
        descriptions.tick(number + LIMIT_SECONDS - 0.01)
        assert answer.reports == []
        descriptions.tick(number + LIMIT_SECONDS)
        assert (answer.report.silent, len(answer.report.clients)) == ([0], 1)
    assert len(blocked.channel.told) == 1  # its channel must have room for what matters
    answer = Answer(descriptions, now=100.0)
    blocked.answer(descriptions, clients(0, 1))  # at last, and it is news
    lively.answer(descriptions, b"[]")
    assert (answer.report.silent, len(answer.report.clients)) == ([], 1)


def test_who_boots_is_not_asked_and_nobody_is_waited_for_in_vain() -> None:
    booting = Link(0, State.BOOTING)
    descriptions = make(booting)
    assert Answer(descriptions).report.clients == []
    assert booting.channel.told == []


def test_nonsense_from_a_worker_is_no_more_than_that() -> None:
    link = Link(0)
    descriptions = make(link)
    for text in (b"", b"{", b'[{"slot": "x"}]'):
        answer = Answer(descriptions)
        link.answer(descriptions, text)
        assert answer.report.clients == []
