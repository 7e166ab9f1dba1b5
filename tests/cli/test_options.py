"""Help shows every setting with its unit, bounds, variable and default, under its group."""

import re

import pytest

from prefork.cli import main
from prefork.cli.options import notes
from prefork.settings import GROUPS, SETTINGS


@pytest.mark.parametrize("command", ["serve", "check", "settings"])
def test_help_names_every_flag_under_its_group(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    sections = re.split(r"^(\S.*):\n", capsys.readouterr().out, flags=re.MULTILINE)
    text = dict(zip(sections[1::2], sections[2::2], strict=True))
    for setting in SETTINGS.values():
        flag = f"{setting.flag} / {setting.off_flag}" if setting.kind == "switch" else f"{setting.flag} "
        assert f"  {flag}" in text[GROUPS[setting.group]]
        assert setting.variable in text[GROUPS[setting.group]]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("drain_seconds", ["seconds", "≥ 0 and ≤ 604800", "PREFORK_DRAIN_SECONDS", "default: 30"]),
        ("max_target", ["≥ 16 and ≤ 64K", "PREFORK_MAX_TARGET", "default: 8K"]),
        ("bind", ["repeatable", "PREFORK_BIND", "default: 127.0.0.1:8000"]),
        ("debug", ["PREFORK_DEBUG", "default: false"]),
        ("ready_fd", ["≥ 0", "PREFORK_READY_FD", "default: none"]),
    ],
)
def test_notes_give_unit_bounds_variable_and_default(name: str, expected: list[str]) -> None:
    assert notes(SETTINGS[name]) == expected
