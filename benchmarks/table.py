"""From single measurements to tables: medians, ratios within a run, Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

UNKNOWN = "–"


@dataclass(frozen=True)
class Measurement:
    """One valid load of one server. A request may be a message: whatever the load counts."""

    server: str
    round: int
    requests_per_second: float
    cpu_us: float  # of the server's tree, per request
    p99_ms: float | None  # None: the load has no latency of a request


@dataclass(frozen=True)
class Bar:
    """A limit, and the figure that was measured; None where it could not be."""

    limit: float
    figure: float | None

    @property
    def reached(self) -> bool:
        """The figure is there and not above the limit."""
        return self.figure is not None and self.figure <= self.limit

    def verdict(self) -> str:
        """One word for a table."""
        if self.figure is None:
            return "not measured"
        return "yes" if self.reached else "**no**"


def cpu_ratio(measurements: Sequence[Measurement], base: str, peer: str) -> float | None:
    """CPU per request of `base` ÷ that of `peer`: the median over the rounds in which both were measured.

    Each ratio is of one round, because absolute figures drift from round to round. None without such a round.
    """
    by_round = {(m.server, m.round): m.cpu_us for m in measurements}
    rounds = sorted({m.round for m in measurements})
    ratios = [
        by_round[base, number] / by_round[peer, number]
        for number in rounds
        if (base, number) in by_round and (peer, number) in by_round
    ]
    return median(ratios) if ratios else None


def cpu_difference(measurements: Sequence[Measurement], base: str, peer: str) -> float | None:
    """CPU per request of `base` less that of `peer`, in µs: the median over the rounds, as in `cpu_ratio`."""
    by_round = {(m.server, m.round): m.cpu_us for m in measurements}
    differences = [
        used - by_round[peer, number]
        for (server, number), used in by_round.items()
        if server == base and (peer, number) in by_round
    ]
    return median(differences) if differences else None


def load_table(
    measurements: Sequence[Measurement],
    base: str,
    titles: Mapping[str, str],
    bars: Mapping[str, Bar],
    rounds: int,
    unit: str = "request",
) -> str:
    """One scenario as Markdown: a row for each server in `titles`, in that order. `unit` is what the load counts."""
    figures = [f"{unit}s/s", f"CPU µs/{unit}", "p99 ms"]
    header = ["server", *figures, f"CPU: {base} ÷ it", "bar", "reached", "valid rounds"]
    rows = []
    for server, title in titles.items():
        own = [m for m in measurements if m.server == server]
        bar = bars.get(server)
        rows.append(
            [
                title,
                middle([m.requests_per_second for m in own], ",.0f"),
                middle([m.cpu_us for m in own], ".2f"),
                middle([m.p99_ms for m in own if m.p99_ms is not None], ".2f"),
                number(cpu_ratio(measurements, base, server), ".2f"),
                f"≤ {bar.limit:.2f}" if bar else "",
                bar.verdict() if bar else "",
                f"{len(own)} of {rounds}",
            ]
        )
    return markdown(header, rows)


def middle(values: Sequence[float], form: str) -> str:
    """The median, formatted."""
    return number(median(values) if values else None, form)


def number(value: float | None, form: str) -> str:
    """A figure, or a dash where there is none."""
    return UNKNOWN if value is None else format(value, form)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table: first column to the left, the others to the right, padded for reading as text."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        first, *others = [
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "| " + " | ".join([first, *others]) + " |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([line(header), line(rule), *(line(row) for row in rows)])


def bars_line(bars: Sequence[Bar]) -> str:
    """How many of the bars were reached, in one line."""
    return f"Bars reached: {sum(bar.reached for bar in bars)} of {len(bars)}."
