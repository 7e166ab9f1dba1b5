"""Ask the workers for their open connections, and put together what they tell: the command `connections`."""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import msgspec

from prefork.control.later import Later
from prefork.control.status import ClientStatus, ConnectionsReport, RequestStatus
from prefork.core.lifecycle import State
from prefork.messages import Describe, Described
from prefork.processes.link import WorkerLink

LIMIT_SECONDS: Final = 0.5  # a worker that is blocked does not answer, and is named
CLIENTS: Final = 5000  # of one answer
WORKER_BYTES: Final = 4 * 1024 * 1024  # of what one worker tells

_decoder = msgspec.json.Decoder(list[ClientStatus])
_log = logging.getLogger("prefork.control")


@dataclass(eq=False)
class _Question:
    number: int
    until: float  # monotonic seconds
    later: Later
    requests: list[RequestStatus]
    silent: dict[int, int]  # slots by serial, of those that have not answered
    clients: list[ClientStatus] = field(default_factory=list)
    left_out: int = 0


class Descriptions:
    """The questions that are not answered yet."""

    def __init__(self, links: dict[int, WorkerLink]) -> None:
        """`links` by serial, kept by the caller."""
        self._links = links
        self._questions: dict[int, _Question] = {}
        self._asked: set[int] = set()  # serials of workers that owe an answer: they are not asked again meanwhile
        self._number = 0

    def ask(self, requests: list[RequestStatus], now: float) -> Later:
        """Ask them all. The answer, with these requests, comes within LIMIT_SECONDS."""
        self._number += 1
        asked = {
            serial: link.handle.slot
            for serial, link in self._links.items()
            if link.handle.state not in (State.BOOTING, State.GONE)
        }
        question = _Question(self._number, now + LIMIT_SECONDS, Later(), requests, asked)
        self._questions[self._number] = question
        for serial in asked.keys() - self._asked:
            self._asked.add(serial)
            self._links[serial].channel.tell(Describe(self._number))
        self._asked &= self._links.keys()
        if not asked:
            self._settle(question)
        return question.later

    def hear(self, link: WorkerLink, message: Described, descriptors: list[int]) -> None:
        """A worker has answered. The descriptors are closed here."""
        serial = link.handle.serial
        self._asked.discard(serial)
        questions = [question for question in self._questions.values() if serial in question.silent]
        clients = _read(descriptors) if questions else []
        for descriptor in descriptors:
            os.close(descriptor)
        for question in questions:
            del question.silent[serial]
            room = CLIENTS - len(question.clients)
            question.clients += clients[:room]
            question.left_out += message.left_out + max(0, len(clients) - room)
            if not question.silent:
                self._settle(question)

    def tick(self, now: float) -> None:
        """Answer without those that are late."""
        for question in [question for question in self._questions.values() if now >= question.until]:
            self._settle(question)

    def deadlines(self) -> Iterator[float]:
        """When `tick` has something to do."""
        yield from (question.until for question in self._questions.values())

    def _settle(self, question: _Question) -> None:
        del self._questions[question.number]
        report = ConnectionsReport(
            requests=question.requests,
            clients=sorted(question.clients, key=lambda client: client.slot),
            left_out=question.left_out,
            silent=sorted(question.silent.values()),
        )
        question.later.settle(report)


def _read(descriptors: list[int]) -> list[ClientStatus]:
    """What a worker has written down; nothing, where that is not ours."""
    try:
        size = os.fstat(descriptors[0]).st_size
        return _decoder.decode(os.pread(descriptors[0], size, 0)) if size <= WORKER_BYTES else []
    except (IndexError, OSError, msgspec.DecodeError) as error:
        _log.warning("a worker's connections cannot be read: %s", error)
        return []
