"""What a worker records of its requests: those in flight, and how many were answered, how, and how fast.

Its one hot function is `answered`: everything a request costs for being counted stands there.
"""

from bisect import bisect_left
from time import monotonic
from typing import TYPE_CHECKING, Final

from prefork.jobs import measured
from prefork.metrics import ours
from prefork.metrics.counting import LABEL_SETS, OTHER, current
from prefork.metrics.kinds import SECONDS, Declaration
from prefork.system.scoreboard import ScoreboardWriter

if TYPE_CHECKING:
    from prefork.http.exchange import Exchange

# Others are counted together: clients choose them, and must not make up series. RFC 9110, 5789 and the QUERY draft.
KNOWN_METHODS: Final = frozenset(
    {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"}
)
NOT_ALLOWED: Final = 405  # counted without a route, which has no such method
NO_RESPONSE: Final = "none"  # the status of a request that never had one: its client left, or it was cut

KEPT_ROWS: Final = 8 * LABEL_SETS  # keys: the statuses of a class share a row

_FIRST: Final = SECONDS[0]
_SUM: Final = len(SECONDS) + 1  # of a histogram's words; see `Declaration.words`
_NOT_YET: Final = -1  # no request with these labels had a body
_NEVER: Final = -2  # there is no room to count bodies

Rows = list[int]  # first words of the histogram, the bytes sent and the bytes received
_ALONE: Final = [0, _SUM + 1, _SUM + 2]  # in memory that holds only these


class Recorder(ScoreboardWriter):
    """The flight recorder of a worker that counts, in its place of the ledger."""

    def __init__(self, descriptor: int, connections: int) -> None:
        super().__init__(descriptor, connections)
        self._connections = connections
        self._words = current().place.words
        self._rows: dict[tuple[str, str, int], Rows] = {}
        self._labels: dict[tuple[str, ...], Rows] = {}  # the statuses of a class share theirs
        self._others: Rows = _ALONE
        self._others = self._place((OTHER, OTHER, OTHER))  # taken now, while there is room
        if self._others is _ALONE:  # the app was first and took all; it is in the log
            self._words = memoryview(bytearray(8 * (len(SECONDS) + 4))).cast("d")

    def answered(self, record: int, exchange: "Exchange") -> None:  # type: ignore[override]
        self._floats[record] = 0.0
        self._requests += 1
        key = (exchange.method, exchange.route, exchange.status)
        rows = self._rows.get(key) or self._find(key)
        seconds = monotonic() - exchange.started_at
        words, first = self._words, rows[0]
        words[first if seconds <= _FIRST else first + bisect_left(SECONDS, seconds)] += 1.0  # most are that fast
        words[first + _SUM] += seconds
        if exchange.status:
            words[rows[1]] += exchange.bytes_sent
        if exchange.has_body:
            self._receive(rows, key, exchange)

    def switched(self, record: int, exchange: "Exchange") -> None:  # type: ignore[override]
        started = self._floats[record]
        self.answered(record, exchange)
        self._floats[record] = started

    def refused(self, status: int) -> None:
        ours.refused_requests.labels(status).inc()

    def waited(self, seconds: float) -> None:
        ours.queue_wait.observe(max(0.0, seconds))

    def beat(self, now: float, lag: float = 0.0, busy: float = 0.0) -> None:
        super().beat(now, lag, busy)
        ours.loop_lag.observe(lag)
        ours.open_connections.set(self._connections - len(self._free))
        measured.tell()

    def _find(self, key: tuple[str, str, int]) -> Rows:
        found = self._place(_labels(key))
        if len(self._rows) < KEPT_ROWS and key[0] in KNOWN_METHODS:  # the others are no reason to remember more
            self._rows[key] = found
        return found

    def _place(self, labels: tuple[str, ...]) -> Rows:
        """The rows of these labels. Where there is no room for them, those of all others."""
        found = self._labels.get(labels)
        if found is None:
            first = self._row(ours.request_seconds.declaration, labels)
            sent = self._row(ours.response_bytes.declaration, labels)
            if first is None or sent is None:
                return self._others
            found = [first, sent, _NOT_YET]
            if len(self._labels) < KEPT_ROWS:
                self._labels[labels] = found
        return found

    def _row(self, declaration: Declaration, labels: tuple[str, ...]) -> int | None:
        words, first = current().series(declaration, labels)
        return first if words is self._words else None

    def _receive(self, rows: Rows, key: tuple[str, str, int], exchange: "Exchange") -> None:
        """Count a request's body. Most routes never have one, so its row is taken with the first."""
        body = exchange.body
        if rows[2] == _NOT_YET:
            labels = (OTHER, OTHER, OTHER) if rows is self._others else _labels(key)
            found = self._row(ours.request_bytes.declaration, labels)
            rows[2] = _NEVER if found is None else found
        if body is not None and rows[2] != _NEVER:
            self._words[rows[2]] += body.received


def _labels(key: tuple[str, str, int]) -> tuple[str, str, str]:
    method, route, status = key
    return (
        method if method in KNOWN_METHODS else OTHER,
        f"{status // 100}xx" if status else NO_RESPONSE,
        "" if status == NOT_ALLOWED else route,
    )
