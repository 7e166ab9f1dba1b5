"""Medians, ratios within a round, and bars that are reached exactly up to their limit."""

import pytest

from benchmarks.table import Bar, Measurement, bars_line, cpu_difference, cpu_ratio, load_table, markdown


def one(server: str, number: int, cpu: float, p99: float | None = 1.0) -> Measurement:
    return Measurement(server, number, 1_000_000 / cpu, cpu, p99)


DRIFTING = [  # the machine is half as fast in round 2, for both
    one("prefork", 1, 10),
    one("uvicorn", 1, 20),
    one("prefork", 2, 20),
    one("uvicorn", 2, 40),
    one("prefork", 3, 12),
    one("uvicorn", 3, 20),
]


def test_the_ratio_is_the_median_of_each_rounds_own_ratio() -> None:
    assert cpu_ratio(DRIFTING, "prefork", "uvicorn") == 0.5


def test_a_round_that_one_of_both_missed_has_no_ratio() -> None:
    assert cpu_ratio([*DRIFTING[:2], one("prefork", 4, 1)], "prefork", "uvicorn") == 0.5
    assert cpu_ratio([one("prefork", 1, 10), one("uvicorn", 2, 20)], "prefork", "uvicorn") is None


def test_the_difference_is_the_median_of_each_rounds_own_difference() -> None:
    assert cpu_difference(DRIFTING, "uvicorn", "prefork") == 10
    assert cpu_difference([*DRIFTING[:2], one("prefork", 4, 1)], "uvicorn", "prefork") == 10
    assert cpu_difference([one("prefork", 1, 10), one("uvicorn", 2, 20)], "prefork", "uvicorn") is None


@pytest.mark.parametrize(("figure", "verdict"), [(0.59, "yes"), (0.6, "yes"), (0.61, "**no**"), (None, "not measured")])
def test_a_bar_is_reached_up_to_its_limit(figure: float | None, verdict: str) -> None:
    assert Bar(0.6, figure).verdict() == verdict


def test_a_bar_without_a_figure_counts_as_not_reached() -> None:
    assert bars_line([Bar(1, 1), Bar(1, 2), Bar(1, None)]) == "Bars reached: 1 of 3."


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_a_scenario_shows_medians_ratio_bar_and_valid_rounds() -> None:
    titles = {"prefork": "prefork", "uvicorn": "uvicorn (uvloop)"}
    table = cells(load_table(DRIFTING, "prefork", titles, {"uvicorn": Bar(0.6, 0.5)}, rounds=5))
    assert table[2] == ["prefork", "83,333", "12.00", "1.00", "1.00", "", "", "3 of 5"]
    assert table[3] == ["uvicorn (uvloop)", "50,000", "20.00", "1.00", "0.50", "≤ 0.60", "yes", "3 of 5"]


def test_a_server_without_a_valid_round_keeps_its_row_and_has_no_figures() -> None:
    table = cells(load_table(DRIFTING, "prefork", {"node": "Node"}, {"node": Bar(0.4, None)}, rounds=5))
    assert table[2] == ["Node", "–", "–", "–", "–", "≤ 0.40", "not measured", "0 of 5"]


def test_a_load_without_latency_has_none_in_the_table() -> None:
    table = cells(load_table([one("prefork", 1, 10, None)], "prefork", {"prefork": "prefork"}, {}, rounds=1))
    assert table[2][3] == "–"


def test_a_load_of_messages_is_headed_by_messages() -> None:
    table = cells(load_table(DRIFTING, "prefork", {"prefork": "prefork"}, {}, rounds=3, unit="message"))
    assert table[0][1:3] == ["messages/s", "CPU µs/message"]


def test_markdown_is_aligned_for_reading_as_text() -> None:
    assert markdown(["server", "ms"], [["a", "1.5"], ["longer name", "10"]]).splitlines() == [
        "| server      |  ms |",
        "| ----------- | --: |",
        "| a           | 1.5 |",
        "| longer name |  10 |",
    ]
