"""What a program printed is read even if it died meanwhile, and its end is told in words."""

import pytest

from benchmarks.printed import ProgramError, ended, parse


def test_lines_are_read_up_to_the_one_that_was_cut_off() -> None:
    assert parse(b'{"value": 1.5}\n{"value": 2}\n{"val') == [{"value": 1.5}, {"value": 2}]
    assert parse(b"") == []


def test_anything_but_json_is_an_error_that_shows_it() -> None:
    with pytest.raises(ProgramError, match="Segmentation"):
        parse(b"Segmentation fault\n")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, None),
        (1, "ended with 1: ImportError: loky"),
        (-9, "ended by SIGKILL"),
        (None, "did not end within 30 s: ImportError: loky"),
    ],
)
def test_an_end_that_was_not_good_is_told(code: int | None, words: str | None) -> None:
    assert ended(code, 30, "ImportError: loky") == words
