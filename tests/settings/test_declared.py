"""Every setting is declared once, and all that is derived from it agrees."""

import re

import msgspec
import pytest

from prefork.settings import GROUPS, SETTINGS, Setting, Settings
from prefork.settings.values import from_file, from_text

EACH = pytest.mark.parametrize("setting", SETTINGS.values(), ids=list(SETTINGS))
NUMBERS = [setting for setting in SETTINGS.values() if setting.low is not None or setting.high is not None]


def test_every_field_is_described_in_order() -> None:
    assert tuple(SETTINGS) == Settings.__struct_fields__


def test_every_group_has_settings_and_every_setting_a_group() -> None:
    assert {setting.group for setting in SETTINGS.values()} == set(GROUPS)


@EACH
def test_names_are_derived_from_the_key(setting: Setting) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", setting.name)
    assert setting.flag == f"--{setting.name.replace('_', '-')}"
    assert setting.off_flag == f"--no-{setting.name.replace('_', '-')}"
    assert setting.variable == f"PREFORK_{setting.name.upper()}"


@EACH
def test_help_is_a_sentence(setting: Setting) -> None:
    assert re.fullmatch(r"[A-Z].+\.", setting.help)


@EACH
def test_the_default_is_a_value_the_setting_takes(setting: Setting) -> None:
    assert setting.default == getattr(Settings(), setting.name)
    if setting.default is not None:
        assert from_file(setting, setting.default) == setting.default


@EACH
def test_the_default_as_shown_reads_back(setting: Setting) -> None:
    if setting.default is not None:
        assert from_text(setting, setting.show(setting.default)) == setting.default


@EACH
def test_every_number_has_a_lower_bound(setting: Setting) -> None:
    assert (setting.low is not None) == (setting.kind in ("integer", "size", "number"))


@pytest.mark.parametrize("setting", NUMBERS, ids=lambda setting: setting.name)
def test_a_number_is_taken_on_its_bounds_and_refused_beyond(setting: Setting) -> None:
    step = 0.001 if setting.kind == "number" else 1
    for bound, outside in ((setting.low, -step), (setting.high, step)):
        if bound is None:
            continue
        excluded = setting.above and bound == setting.low
        inside = bound + step if excluded else bound
        assert from_text(setting, f"{inside:.15g}") == inside
        with pytest.raises(ValueError, match=re.escape(setting.expected)):
            from_text(setting, f"{bound if excluded else bound + outside:.15g}")


def test_settings_are_frozen_and_know_no_other_keys() -> None:
    with pytest.raises(AttributeError):
        Settings().workers = 2  # type: ignore[misc]
    with pytest.raises(TypeError):
        Settings(wrkers=2)  # type: ignore[call-arg]
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"wrkers": 2}, Settings)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("workers", "a whole number ≥ 1 and ≤ 1024, or auto, or MIN:MAX"),
        ("boot_seconds", "a number of seconds > 0 and ≤ 604800"),
        ("max_header_bytes", "a size such as 512, 8K or 16M, ≥ 256 and ≤ 1M"),
        ("log_format", "one of text, json"),
        ("preload", "true or false"),
    ],
)
def test_what_is_expected_is_said_with_its_bounds(name: str, words: str) -> None:
    assert SETTINGS[name].expected == words
