"""The tables of the report on children, as Markdown."""

from collections.abc import Mapping, Sequence
from operator import truediv

from benchmarks.children_figures import Figure
from benchmarks.rounds import Sample, paired
from benchmarks.table import markdown, middle, number

START, CALL, MEMORY = "start ", "call ", "memory "  # before a tool's name, in the names of samples
FACTORS = {START: 1e3, CALL: 1e6, MEMORY: 1e-6}  # to ms, µs, MB


def figure_table(figure: Figure, samples: Sequence[Sample], rounds: int) -> str:
    """A row for each way, with the median of its base's ratios to it."""
    rows = []
    for row in figure.rows:
        values = of(samples, row.name)
        spread = [number(limit(values) if values else None, figure.form) for limit in (min, max)]
        compared = number(paired(samples, row.base, [row.name], min, truediv), ".2f")
        valid = f"{len(values)} of {rounds}"
        rows.append([row.title, row.how, middle(values, figure.form), *spread, compared, valid])
    return markdown(["with", "how", figure.unit, "lowest", "highest", "prefork ÷ it", "valid rounds"], rows)


def tools_table(samples: Sequence[Sample], titles: Mapping[str, str]) -> str:
    """What each tool costs: the start of a new one in ms, a call in µs, an idle one in MB."""
    rows = []
    for name, title in titles.items():
        start, call, memory = (
            middle([factor * value for value in of(samples, kind + name)], form)
            for (kind, factor), form in zip(FACTORS.items(), (".2f", ",.1f", ".1f"), strict=True)
        )
        rows.append([title, start, call, memory])
    return markdown(["tool", "start, ms", "call, µs", "one more idle process, MB"], rows)


def of(samples: Sequence[Sample], name: str) -> list[float]:
    """The values of one name."""
    return [sample.value for sample in samples if sample.name == name]
