"""Env files: NAME=value lines become variables of a low rank, and what is wrong is told without a value."""

from pathlib import Path

import pytest

from prefork.errors import UsageError
from prefork.settings import load
from prefork.settings.env_file import parse_env, read_env_file


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=plain", "plain"),
        ("A = spaced out ", "spaced out"),
        ("export A=exported", "exported"),
        ("A=", ""),
        ("A=a#b # said aside", "a#b"),
        ("A=#nothing", ""),
        ("A='single $HOME \\n' # aside", "single $HOME \\n"),
        ('A="double \\"quoted\\" \\n$HOME\\\\"', 'double "quoted" \n$HOME\\'),
        ("A=it's", "it's"),
        ("A=https://u:p@host/?q=1&r=2", "https://u:p@host/?q=1&r=2"),
        ("A=a=b", "a=b"),
        ("A=é\r", "é"),
    ],
)
def test_a_line_is_a_variable(line: str, value: str) -> None:
    assert parse_env(f"# a comment\n\n{line}\n", "x.env") == {"A": value}


def test_the_last_line_of_a_name_counts() -> None:
    assert parse_env("A=1\nB=2\nA=3", "x.env") == {"A": "3", "B": "2"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("s3cret", "write NAME=value"),
        ("1A=s3cret", "write NAME=value"),
        ("A-B=s3cret", "write NAME=value"),
        ("A='s3cret", "the value of A begins with a single quote"),
        ("A='s3cret' more", "the value of A begins with a single quote"),
        ('A="s3cret', "the value of A begins with a double quote"),
        ("A=s3cret\0", "the value of A holds a zero byte"),
    ],
)
def test_an_error_tells_file_and_line_and_never_the_value(line: str, words: str) -> None:
    with pytest.raises(UsageError, match=r"^env_file: x\.env, line 2: ") as caught:
        parse_env(f"OK=1\n{line}", "x.env")
    assert words in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*none\.env: no such file"):
        read_env_file(str(tmp_path / "none.env"))
    (tmp_path / "latin.env").write_bytes(b"A=\xe9")
    with pytest.raises(UsageError, match=r"latin\.env is not UTF-8"):
        read_env_file(str(tmp_path / "latin.env"))


def test_settings_in_it_rank_below_real_variables_and_above_settings_files(tmp_path: Path) -> None:
    (tmp_path / "prefork.toml").write_text("workers = 1\nbacklog = 1\nthreads = 1")
    (tmp_path / "a.env").write_text("PREFORK_WORKERS=2\nPREFORK_BACKLOG=2\nPREFORK_TARGET=main:app\nOTHER=x")
    (tmp_path / "b.env").write_text("PREFORK_BACKLOG=3")
    loaded = load({"env_file": ("a.env", "b.env")}, {"PREFORK_WORKERS": "4"}, tmp_path)
    assert (loaded.settings.workers, loaded.settings.backlog, loaded.settings.threads) == (4, 3, 1)
    assert loaded.target == "main:app"
    assert loaded.origin["workers"] == "PREFORK_WORKERS"
    assert loaded.origin["backlog"] == "PREFORK_BACKLOG (env file)"


def test_a_variable_or_a_settings_file_may_name_it(tmp_path: Path) -> None:
    (tmp_path / "a.env").write_text("PREFORK_THREADS=7")
    assert load({}, {"PREFORK_ENV_FILE": "a.env"}, tmp_path).settings.threads == 7
    (tmp_path / "prefork.toml").write_text('env_file = ["a.env"]\nthreads = 1')
    assert load({}, {}, tmp_path).settings.threads == 7


def test_it_may_name_the_settings_file_but_no_other_env_file(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text("threads = 9")
    (tmp_path / "a.env").write_text("PREFORK_CONFIG=own.toml")
    assert load({"env_file": ("a.env",)}, {}, tmp_path).settings.threads == 9
    (tmp_path / "prefork.toml").write_text('env_file = ["a.env"]')
    with pytest.raises(UsageError, match="PREFORK_CONFIG is in a file that a settings file names"):
        load({}, {}, tmp_path)
    (tmp_path / "c.env").write_text("PREFORK_ENV_FILE=a.env")
    with pytest.raises(UsageError, match="cannot name others"):
        load({"env_file": ("c.env",)}, {}, tmp_path)


def test_an_unknown_setting_in_it_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.env").write_text("PREFORK_WORKER=2")
    with pytest.raises(UsageError, match="env_file: unknown variable PREFORK_WORKER; did you mean PREFORK_WORKERS"):
        load({"env_file": ("a.env",)}, {}, tmp_path)
