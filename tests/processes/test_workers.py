"""What the master does with what workers tell it. No process here: real channels, and a roster."""

import logging
import selectors
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from prefork.core.lifecycle import Event, State
from prefork.core.roster import Roster, WorkerHandle
from prefork.messages import BootFailed, Ready
from prefork.processes.link import WorkerLink
from prefork.processes.workers import Workers
from prefork.system.channel import Channel
from tests.core.roster import add


class Overseer:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.changed = False
        self.ready: list[int] = []  # generations

    def worker_ready(self, link: WorkerLink) -> None:
        self.ready.append(link.handle.generation)

    def worker_cannot_boot(self, handle: WorkerHandle, message: BootFailed) -> None:
        raise AssertionError(message)

    def worker_leaves(self, handle: WorkerHandle, now: float) -> None:
        raise AssertionError(handle)


class Book:
    """A roster of one worker that boots, and the worker's end of its channel."""

    def __init__(self) -> None:
        self.overseer = Overseer()
        self.handle = add(Roster(1), 0, State.BOOTING)
        channel, self.worker = Channel.pair()
        self.link: Any = SimpleNamespace(handle=self.handle, channel=channel)
        nobody: Any = None
        with selectors.DefaultSelector() as selector:
            self.workers = Workers(
                self.overseer, Roster(1), {}, nobody, nobody, nobody, nobody, selector=selector, max_connections=1
            )

    def close(self) -> None:
        self.link.channel.close()
        self.worker.close()


@pytest.fixture
def book() -> Iterator[Book]:
    book = Book()
    yield book
    book.close()


def test_a_worker_that_reports_ready_is_ready(book: Book) -> None:
    book.worker.tell(Ready())
    book.workers.hear(book.link)
    assert (book.handle.state, book.overseer.ready) == (State.READY, [1])
    assert book.handle.ready_at is not None


def test_a_report_that_crossed_the_order_to_go_proves_nothing(book: Book, caplog: pytest.LogCaptureFixture) -> None:
    book.worker.tell(Ready())
    book.handle.apply(Event.RETIRED)
    with caplog.at_level(logging.INFO):
        book.workers.hear(book.link)
    assert (book.handle.state, book.overseer.ready) == (State.DRAINING, [])
    assert book.handle.ready_at is None
    assert "is ready" not in caplog.text
