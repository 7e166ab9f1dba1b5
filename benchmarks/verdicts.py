"""Bars in words, each with the figure that it judges."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.table import Bar, markdown, number


@dataclass(frozen=True)
class Verdict:
    """A bar in words, with the figure that it judges."""

    title: str
    limit: str
    measured: str
    bar: Bar


def at_most(title: str, limit: float, figure: float | None, form: str) -> Verdict:
    """A figure that is to be low."""
    return Verdict(title, f"≤ {limit:{form}}", number(figure, form), Bar(limit, figure))


def at_least(title: str, limit: float, figure: float | None, form: str) -> Verdict:
    """A figure that is to be high: Bar knows only upper limits, so both change their sign."""
    return Verdict(title, f"≥ {limit:{form}}", number(figure, form), Bar(-limit, None if figure is None else -figure))


def verdicts_table(verdicts: Sequence[Verdict]) -> str:
    """The bars, and whether they were reached."""
    rows = [[verdict.title, verdict.limit, verdict.measured, verdict.bar.verdict()] for verdict in verdicts]
    return markdown(["bar", "limit", "measured", "reached"], rows)
