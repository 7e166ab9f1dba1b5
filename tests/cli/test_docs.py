"""docs/settings.md is made from the declared settings, and a stale one is noticed."""

from pathlib import Path

from click.testing import CliRunner

from prefork.cli.docs import COMMAND, main, page
from prefork.settings import SETTINGS


def test_the_page_has_a_row_for_every_setting() -> None:
    rows = [line for line in page().splitlines() if line.startswith("| `")]
    assert len(rows) == len(SETTINGS)
    for setting in SETTINGS.values():
        (row,) = [row for row in rows if row.startswith(f"| `{setting.name}` |")]
        assert len(row.split(" | ")) == 6
        for part in (setting.flag, setting.variable, setting.bounds, setting.show(setting.default), setting.help):
            assert part in row


def test_the_page_in_the_repository_is_fresh() -> None:
    file = Path(__file__).parents[2] / "docs" / "settings.md"
    result = CliRunner().invoke(main, ["--check", str(file)])
    assert (result.exit_code, result.output) == (0, "")


def test_a_missing_or_stale_page_fails_the_check_and_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "settings.md"
    missing = CliRunner().invoke(main, ["--check", str(file)])
    assert not file.exists()
    file.write_text("old")
    stale = CliRunner().invoke(main, ["--check", str(file)])
    assert file.read_text() == "old"
    for result in (missing, stale):
        assert result.exit_code == 1
        assert f"run: {COMMAND}" in result.output


def test_a_written_page_is_fresh(tmp_path: Path) -> None:
    file = tmp_path / "settings.md"
    assert CliRunner().invoke(main, [str(file)]).exit_code == 0
    assert CliRunner().invoke(main, ["--check", str(file)]).exit_code == 0
    assert file.read_text(encoding="utf-8") == page()
