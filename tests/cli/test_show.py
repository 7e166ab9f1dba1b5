"""`prefork settings` shows every setting, its value and where it came from."""

import json
from pathlib import Path

import pytest

from prefork.cli import main
from prefork.settings import SETTINGS


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder whose settings file sets two keys; the environment sets a third."""
    (tmp_path / "prefork.toml").write_text('max_body = "64M"\ntarget = "main:app"')
    monkeypatch.setenv("PREFORK_DRAIN_SECONDS", "1.5")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_table_has_a_row_for_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings", "--no-preload"]) == 0
    rows = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines() if line[:2] == "  "}
    assert set(rows) == {"target", *SETTINGS}
    assert rows["target"] == ["main:app", "prefork.toml"]
    assert rows["max_body"] == ["64M", "prefork.toml"]
    assert rows["drain_seconds"] == ["1.5", "PREFORK_DRAIN_SECONDS"]
    assert rows["preload"] == ["false", "--no-preload"]
    assert rows["backlog"] == ["2048", "default"]


def test_the_columns_of_the_table_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.endswith("default")]
    assert len({line.rindex("default") for line in lines}) == 1


def test_json_has_values_and_origins(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["target", *SETTINGS]
    assert found["max_body"] == {"value": 64 * 1024**2, "origin": "prefork.toml"}
    assert found["bind"] == {"value": ["127.0.0.1:8000"], "origin": "default"}
    assert found["ready_fd"] == {"value": None, "origin": "default"}
