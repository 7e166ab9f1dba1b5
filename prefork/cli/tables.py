"""Short aligned tables, on a terminal and in a pipe."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence

import click

NARROW = 80  # columns; a terminal that is narrower gets lines of this width
GAP = "  "


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], width: int | None, gap: str = GAP) -> str:
    """Columns whose head begins with < are set left, without it; the others right. The last column is cut so that lines
    fit `width`; None: nothing is cut."""
    left = [head.startswith("<") for head in heads]
    lines = [[head.removeprefix("<") for head in heads], *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    if width is not None:
        room = width - sum(widths[:-1]) - len(gap) * (len(widths) - 1)
        widths[-1] = max(len(lines[0][-1]), min(widths[-1], room))
    return "\n".join(_line(line, widths, left, gap) for line in lines)


def terminal_width() -> int | None:
    """Columns of the terminal; None when the output goes elsewhere."""
    return max(NARROW, shutil.get_terminal_size().columns) if sys.stdout.isatty() else None


def printable(text: str) -> str:
    """Without control characters: what a client sent must not steer the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def show(text: str) -> None:
    """Print it, each line by itself harmless."""
    click.echo("\n".join(printable(line.expandtabs()) for line in text.split("\n")))


def _line(cells: Sequence[str], widths: Sequence[int], left: Sequence[bool], gap: str) -> str:
    shown = []
    for cell, width, to_left in zip(cells, widths, left, strict=True):
        cut = cell if len(cell) <= width else cell[: width - 1] + "…"
        shown.append(cut.ljust(width) if to_left else cut.rjust(width))
    return gap.join(shown).rstrip()
