"""Clients that ask without pause in threads of their own, each request counted: answered, or lost and why."""

import threading
from collections import Counter
from dataclasses import dataclass
from types import TracebackType

from tests.processes.client import Client, Lost
from tests.processes.patience import GUARD_SECONDS

MOST_LOSSES = 50  # a client that loses this many stops, so that a dead server ends the test


@dataclass(frozen=True)
class Loss:
    """A request that was sent and not answered with 200."""

    client: int
    path: str
    reason: str
    worker: str | None  # pid of the worker that had answered on this connection last


class Load:
    """`keep_alive` clients hold on to their connection as long as it lasts; `closing` ones open one per request."""

    def __init__(self, address: str, keep_alive: int = 0, closing: int = 0) -> None:
        self.losses: list[Loss] = []
        self.connections: Counter[int] = Counter()  # opened, by client
        self.answers: Counter[int] = Counter()  # by client
        self.answered_by: Counter[str] = Counter()  # by pid
        self._address = address
        self._news = threading.Condition()
        self._stopping = False
        self.keep_alive = range(keep_alive)
        self._threads = [
            threading.Thread(target=self._run, args=(number, number in self.keep_alive), daemon=True)
            for number in range(keep_alive + closing)
        ]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        self.wait_answers(1)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stopping = True
        for thread in self._threads:
            thread.join(GUARD_SECONDS)
        assert not any(thread.is_alive() for thread in self._threads), "a client waits for its answer"

    def wait_answers(self, more: int) -> None:
        """Wait until each client has had so many answers more."""
        with self._news:
            wanted = {number: self.answers[number] + more for number in range(len(self._threads))}
            came = self._news.wait_for(
                lambda: all(self.answers[number] >= count for number, count in wanted.items()), GUARD_SECONDS
            )
        assert came, f"clients wait for answers; losses so far: {self.losses}"

    def _run(self, number: int, keep_alive: bool) -> None:
        client: Client | None = None
        worker: str | None = None
        fields = "" if keep_alive else "connection: close\r\n"
        asked = lost = 0
        while not self._stopping and lost < MOST_LOSSES:
            asked += 1
            path = f"/who?client={number}&request={asked}"
            try:
                if client is None:
                    client = Client(self._address)
                    worker = None
                    self.connections[number] += 1
                reply = client.get(path, fields)
                if reply.status != 200:
                    raise Lost(reply.head)
                worker = reply.text
                if not keep_alive:
                    client.close()
                    client = None
            except (OSError, Lost) as error:
                lost += 1
                with self._news:
                    self.losses.append(Loss(number, path, repr(error), worker))
                if client is not None:
                    client.close()
                    client = None
                continue
            with self._news:
                self.answers[number] += 1
                self.answered_by[worker] += 1
                self._news.notify_all()
        if client is not None:
            client.close()
