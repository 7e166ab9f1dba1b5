"""What cannot be had here is left out of a figure with a word, and what went wrong elsewhere is told."""

import pytest

from benchmarks import children
from benchmarks.children_figures import FIGURES
from benchmarks.children_programs import NODE, named
from benchmarks.peers import PeerError
from benchmarks.printed import ProgramError


def test_without_node_the_other_rows_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def program(home: str) -> list[str]:
        if home == NODE:
            raise PeerError("node is not installed")
        return [home]

    monkeypatch.setattr(children, "program", program)
    found, missing = children.at_hand(FIGURES["message"].programs)
    assert list(found) == ["message script heavy uvloop"]
    assert missing == ["left out: message node: node is not installed"]


def test_every_program_of_a_figure_has_a_name_of_its_own() -> None:
    for figure in FIGURES.values():
        assert len({str(program) for program in figure.programs}) == len(figure.programs)


def test_a_line_without_a_name_or_a_value_is_an_error_that_shows_it() -> None:
    assert named([{"name": "fork", "value": 2, "count": 1}], "worker ") == {"worker fork": 2.0}
    with pytest.raises(ProgramError, match="value"):
        named([{"name": "fork"}])
