"""The generated pages match the code they are made from, and a stale one is noticed."""

from pathlib import Path

from click.testing import CliRunner

from prefork.cli.docs import COMMAND, PAGES, job_page, main, settings_page, worker_page
from prefork.core import job, lifecycle
from prefork.settings import SETTINGS


def test_the_page_has_a_row_for_every_setting() -> None:
    rows = [line for line in settings_page().splitlines() if line.startswith("| `")]
    assert len(rows) == len(SETTINGS)
    for setting in SETTINGS.values():
        (row,) = [row for row in rows if row.startswith(f"| `{setting.name}` |")]
        assert len(row.split(" | ")) == 6
        for part in (setting.flag, setting.variable, setting.bounds, setting.show(setting.default), setting.help):
            assert part in row


def test_the_diagrams_show_every_state() -> None:
    for page, states in ((worker_page(), list(lifecycle.State)), (job_page(), list(job.State))):
        for state in states:
            assert f"--> {state.value.replace(' ', '_')}" in page
            assert f"| {state.value} |" in page


def test_the_pages_in_the_repository_are_fresh() -> None:
    result = CliRunner().invoke(main, ["--check", str(Path(__file__).parents[2] / "docs")])
    assert (result.exit_code, result.output) == (0, "")


def test_a_missing_or_stale_page_fails_the_check_and_is_left_alone(tmp_path: Path) -> None:
    missing = CliRunner().invoke(main, ["--check", str(tmp_path)])
    assert list(tmp_path.iterdir()) == []
    for name in PAGES:
        (tmp_path / name).write_text("old")
    stale = CliRunner().invoke(main, ["--check", str(tmp_path)])
    assert {(tmp_path / name).read_text() for name in PAGES} == {"old"}
    for result in (missing, stale):
        assert result.exit_code == 1
        assert f"run: {COMMAND}" in result.output


def test_written_pages_are_fresh(tmp_path: Path) -> None:
    assert CliRunner().invoke(main, [str(tmp_path)]).exit_code == 0
    assert CliRunner().invoke(main, ["--check", str(tmp_path)]).exit_code == 0
    for name, page in PAGES.items():
        assert (tmp_path / name).read_text(encoding="utf-8") == page()
