"""What a worker records of its requests: those in flight, and how many were answered, how, and how fast.

Its one hot function is `answered`: everything a request costs for being counted stands there.
"""

from bisect import bisect_left
from time import monotonic
from typing import TYPE_CHECKING, Final

from prefork.metrics.counting import LABEL_SETS, OTHER, current
from prefork.metrics.declaring import our_counter, our_histogram
from prefork.metrics.kinds import SECONDS
from prefork.system.scoreboard import ScoreboardWriter

if TYPE_CHECKING:
    from prefork.http.exchange import Exchange

LABELS: Final = ("method", "status", "route")
NO_RESPONSE: Final = "none"  # the status of a request that never had one: its client left, or it was cut

requests = our_histogram(
    "prefork_request_seconds", "Time from a request's head to the end of its response, by status class.", LABELS
)
response_bytes = our_counter("prefork_response_bytes_total", "Bytes of response bodies.", LABELS)
refused = our_counter(
    "prefork_refused_requests_total", "What was answered without being a request, by status.", ("status",)
)

KEPT_ROWS: Final = 8 * LABEL_SETS  # keys: the statuses of a class share a row

_SUM: Final = len(SECONDS) + 1  # of a histogram's words; see `Declaration.words`


class Recorder(ScoreboardWriter):
    """The flight recorder of a worker that counts, in its place of the ledger."""

    def __init__(self, descriptor: int, connections: int) -> None:
        super().__init__(descriptor, connections)
        self._words = current().place.words
        # First words of histogram and bytes. The statuses of a class share both.
        self._rows: dict[tuple[str, str, int], tuple[int, int]] = {}
        self._others = self._place((OTHER, OTHER, OTHER))  # taken now, while there is room

    def answered(self, record: int, exchange: "Exchange") -> None:  # type: ignore[override]
        self._floats[record] = 0.0
        self._requests += 1
        key = (exchange.method, exchange.route, exchange.status)
        first, sent = self._rows.get(key) or self._find(key)
        seconds = monotonic() - exchange.started_at
        words = self._words
        words[first + bisect_left(SECONDS, seconds)] += 1.0
        words[first + _SUM] += seconds
        if exchange.status:
            words[sent] += exchange.bytes_sent

    def switched(self, record: int, exchange: "Exchange") -> None:  # type: ignore[override]
        started = self._floats[record]
        self.answered(record, exchange)
        self._floats[record] = started

    def refused(self, status: int) -> None:
        refused.labels(status).inc()

    def _find(self, key: tuple[str, str, int]) -> tuple[int, int]:
        method, route, status = key
        found = self._place((method, f"{status // 100}xx" if status else NO_RESPONSE, route))
        if len(self._rows) < KEPT_ROWS:
            self._rows[key] = found
        return found

    def _place(self, labels: tuple[str, ...]) -> tuple[int, int]:
        """The rows of these labels. Where there is no room for them, those of all others."""
        here, first = current().series(requests.declaration, labels)
        there, sent = current().series(response_bytes.declaration, labels)
        return (first, sent) if here is there is self._words else self._others
