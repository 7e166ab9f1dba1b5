"""The report on children keeps a row for what failed, and shows times, speeds and memory in their units."""

from benchmarks.children_figures import FIGURES, Figure, Row
from benchmarks.children_tables import figure_table, tools_table
from benchmarks.rounds import Sample


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_a_way_shows_its_median_its_spread_and_its_bases_paired_ratio() -> None:
    rows = (Row("fork", "a fork", "heavy", "fork"), Row("node", "Node", "empty", "fork"), Row("x", "X", "", "fork"))
    samples = [Sample("fork", 1, 10), Sample("fork", 2, 20), Sample("node", 1, 40)]
    assert cells(figure_table(Figure("start", "ms", 1e3, ".1f", (), rows), samples, 2)) == [
        ["a fork", "heavy", "15.0", "10.0", "20.0", "1.00", "2 of 2"],
        ["Node", "empty", "40.0", "40.0", "40.0", "0.25", "1 of 2"],
        ["X", "", "–", "–", "–", "–", "0 of 2"],
    ]


def test_every_row_is_compared_with_one_of_its_own_table() -> None:
    for figure in FIGURES.values():
        assert {row.base for row in figure.rows} <= {row.name for row in figure.rows}


def test_a_tool_shows_what_it_costs_in_each_unit() -> None:
    samples = [Sample("start fork", 1, 0.0104), Sample("call fork", 1, 25e-6), Sample("memory fork", 1, 5_250_000)]
    titles = {"fork": "a fork", "async": "a coroutine"}
    assert cells(tools_table(samples, titles)) == [
        ["a fork", "10.40", "25.0", "5.2"],
        ["a coroutine", "–", "–", "–"],
    ]
