"""How a server would be started once more."""

import os
from pathlib import Path

import pytest

from prefork.processes.origin import Origin, again, start_folder


def script(folder: Path, *lines: str, executable: bool = True) -> str:
    path = folder / "prefork"
    path.write_text("\n".join(lines))
    path.chmod(0o755 if executable else 0o644)
    return str(path)


def test_a_module_is_run_by_the_interpreter_at_its_path() -> None:
    assert again(["python", "-m", "prefork", "serve", "shop:app"], "/venv/bin/python") == (
        "/venv/bin/python",
        ["/venv/bin/python", "-m", "prefork", "serve", "shop:app"],
    )


@pytest.mark.parametrize(
    "lines",
    [
        ("#!/old/venv/bin/python3", "import prefork"),
        ("#!/bin/sh", '\'\'\'exec\' "/old/venv/bin/python3" "$0" "$@"', "' '''"),  # pip, for long paths
    ],
)
def test_a_script_that_names_its_interpreter_is_run_by_itself(tmp_path: Path, lines: tuple[str, ...]) -> None:
    path = script(tmp_path, *lines)
    arguments = ["/old/venv/bin/python3", path, "serve", "shop:app"]
    assert again(arguments, "/old/venv/bin/python3") == (path, [path, "serve", "shop:app"])


def test_a_script_given_to_another_interpreter_is_given_to_it_again(tmp_path: Path) -> None:
    path = script(tmp_path, "#!/usr/bin/python3", "import prefork")
    assert again(["python", path, "serve"], "/venv/bin/python") == (
        "/venv/bin/python",
        ["/venv/bin/python", path, "serve"],
    )
    plain = script(tmp_path, "#!/usr/bin/python3", executable=False)
    assert again(["/usr/bin/python3", plain], "/usr/bin/python3")[1] == ["/usr/bin/python3", plain]


def test_the_folder_keeps_the_name_of_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release, current = tmp_path / "release", tmp_path / "current"
    release.mkdir()
    current.symlink_to(release)
    monkeypatch.chdir(current)
    assert start_folder({"PWD": str(current)}) == str(current)
    assert start_folder({"PWD": str(tmp_path)}) == str(release)  # not where we are
    assert start_folder({"PWD": "current"}) == str(release)
    assert start_folder({}) == str(release)


def test_what_was_meant_for_one_start_is_not_passed_on() -> None:
    environment = {"HOME": "/", "LISTEN_FDS": "1", "LISTEN_PID": "1", "WATCHDOG_PID": "1", "NOTIFY_SOCKET": "/run/n"}
    origin = Origin.of_this_process({**environment, "PWD": os.getcwd()})
    assert origin.environment == {"HOME": "/", "NOTIFY_SOCKET": "/run/n", "PWD": os.getcwd()}
