"""Options of a job: each within the bounds of its setting, which fills in what is not said."""

from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest

from prefork.jobs.options import Offload, Terms
from prefork.settings import SETTINGS, Settings
from prefork.settings.about import LONGEST, TIB

SETTINGS_OF: dict[str, tuple[str, Any]] = {
    "timeout": ("offload_timeout_seconds", 7.0),
    "grace": ("offload_grace_seconds", 0.5),
    "retries": ("offload_retries", 3),
    "idempotent": ("offload_idempotent", True),
    "priority": ("offload_priority", -4),
    "memory": ("offload_memory", 1024),
    "cpu_seconds": ("offload_cpu_seconds", 2.5),
    "nice": ("offload_nice", 1),
}


def test_every_option_has_a_setting() -> None:
    assert [field.name for field in fields(Offload)] == list(SETTINGS_OF) == list(Terms._fields)
    assert {name for name, _ in SETTINGS_OF.values()} <= set(SETTINGS)


@pytest.mark.parametrize("option", SETTINGS_OF)
def test_what_an_option_does_not_say_its_setting_does(option: str) -> None:
    setting, value = SETTINGS_OF[option]
    assert getattr(Offload().terms(Settings(**{setting: value})), option) == value
    assert getattr(Offload().terms(Settings()), option) == getattr(Settings(), setting)


@pytest.mark.parametrize("option", SETTINGS_OF)
def test_what_an_option_says_goes_before_its_setting(option: str) -> None:
    _, value = SETTINGS_OF[option]
    options = {option: value} | ({"idempotent": True} if option == "retries" else {})
    assert getattr(Offload(**options).terms(Settings()), option) == value


@pytest.mark.parametrize("option", SETTINGS_OF)
def test_nothing_is_something_an_option_may_say(option: str) -> None:
    """0 is no limit and False is no, whatever the setting says."""
    setting, value = SETTINGS_OF[option]
    nothing = Offload(**{option: type(value)(0)})
    assert getattr(nothing.terms(Settings(**{setting: value})), option) == 0


BOUNDS: list[tuple[str, Any, Any]] = [
    # option, the last that is taken, the first that is not
    ("timeout", 0.0, -0.001),
    ("timeout", LONGEST, LONGEST + 1),
    ("grace", 0.0, -0.001),
    ("grace", LONGEST, LONGEST + 1),
    ("retries", 0, -1),
    ("retries", 100, 101),
    ("priority", -1000, -1001),
    ("priority", 1000, 1001),
    ("memory", 0, -1),
    ("memory", TIB, TIB + 1),
    ("cpu_seconds", 0.0, -0.001),
    ("cpu_seconds", LONGEST, LONGEST + 1),
    ("nice", 0, -1),
    ("nice", 19, 20),
]


@pytest.mark.parametrize(("option", "taken", "refused"), BOUNDS)
def test_an_option_is_bounded_as_its_setting(option: str, taken: Any, refused: Any) -> None:
    assert getattr(Offload(idempotent=True, **{option: taken}), option) == taken
    with pytest.raises(ValueError, match=rf"^Offload\({option}={refused}\): must be "):
        Offload(idempotent=True, **{option: refused})


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("timeout", "soon"),
        ("timeout", float("nan")),
        ("timeout", float("inf")),
        ("retries", 1.5),
        ("idempotent", "yes"),
        ("idempotent", 1),
        ("priority", "high"),
        ("memory", "12 apples"),
        ("memory", "-1M"),
        ("memory", 1.5),
        ("nice", "5"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^Offload\({option}=.*\): must be "):
        Offload(**{option: value})


@pytest.mark.parametrize(
    ("text", "count"), [("512M", 512 << 20), ("1k", 1024), ("2G", 2 << 30), ("1T", 1 << 40), ("100", 100)]
)
def test_memory_may_be_written_with_a_unit(text: str, count: int) -> None:
    assert Offload(memory=text).memory == count
    assert Offload(memory=text).terms(Settings()).memory == count


def test_retries_are_for_jobs_that_may_run_twice() -> None:
    for idempotent in (None, False):
        with pytest.raises(ValueError, match="say idempotent=True as well"):
            Offload(retries=1, idempotent=idempotent)
    assert Offload(retries=0).retries == 0
    assert Offload(retries=1, idempotent=True).retries == 1


def test_options_do_not_change_and_have_no_others() -> None:
    options = Offload(timeout=1)
    with pytest.raises(FrozenInstanceError):
        options.timeout = 2  # type: ignore[misc]
    with pytest.raises(TypeError, match="speed"):
        Offload(speed=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="positional"):
        Offload(1)  # type: ignore[call-arg]
