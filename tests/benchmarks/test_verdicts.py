"""A bar is reached exactly up to its limit, and a missing figure never passes."""

import pytest

from benchmarks.verdicts import at_least, at_most, verdicts_table


@pytest.mark.parametrize(("figure", "verdict"), [(4.99, "**no**"), (5, "yes"), (5.01, "yes"), (None, "not measured")])
def test_a_lower_limit_is_reached_from_its_figure_on(figure: float | None, verdict: str) -> None:
    assert at_least("jobs", 5, figure, ".2f").bar.verdict() == verdict


def test_a_bar_shows_the_figure_and_not_how_it_is_compared() -> None:
    shown = at_least("jobs", 5, 12.345, ".2f")
    assert (shown.limit, shown.measured) == ("≥ 5.00", "12.35")
    assert at_most("ms", 1, None, ".2f").measured == "–"


def test_a_bar_is_shown_with_its_limit_and_its_verdict() -> None:
    row = verdicts_table([at_most("round trip", 0.35, 0.4, ".2f")]).splitlines()[2]
    assert [cell.strip() for cell in row.strip("|").split("|")] == ["round trip", "≤ 0.35", "0.40", "**no**"]
