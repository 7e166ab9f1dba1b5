"""offload() without a prefork server: in a script, and under another server."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes.client import fetch
from tests.processes.patience import GUARD_SECONDS
from tests.processes.proc import Death
from tests.processes.tree import APPS, ROOT

pytestmark = pytest.mark.processes


class Program:
    """A program whose output is read to its end, which comes when it and all it has started are gone."""

    def __init__(self, folder: Path, *command: str, **variables: str) -> None:
        ours = {name: value for name, value in os.environ.items() if not name.startswith("PREFORK_")}
        self.process = subprocess.Popen(
            [sys.executable, *command],
            cwd=folder,
            env={**ours, "PYTHONPATH": f"{ROOT}{os.pathsep}{APPS}", **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def finish(self) -> list[dict[str, Any]]:
        """What it printed. AssertionError when it failed, or when something of it stays."""
        out, self.errors = self.process.communicate(timeout=GUARD_SECONDS)
        assert self.process.returncode == 0, self.errors
        return [json.loads(line) for line in out.splitlines()]

    def read(self) -> dict[str, Any]:
        """Its next line."""
        assert self.process.stdout is not None
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found

    def end(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=GUARD_SECONDS)


def script(folder: Path, *arguments: str, **variables: str) -> Program:
    return Program(folder, str(APPS / "standalone.py"), *arguments, **variables)


def test_a_script_offloads_and_leaves_nothing_behind(tmp_path: Path) -> None:
    squares, who = script(tmp_path, "results").finish()
    assert squares == {"squares": [number * number for number in range(50)]}
    assert who["who"]["threads"] == 1
    assert who["who"]["started"] == [who["who"]["pid"]]


def test_each_event_loop_has_a_pool_that_is_closed_with_it(tmp_path: Path) -> None:
    found = script(tmp_path, "results", "3").finish()
    nurseries = {line["who"]["parent"] for line in found if "who" in line}
    assert len(nurseries) == 3


def test_a_process_with_threads_is_never_forked(tmp_path: Path) -> None:
    program = script(tmp_path, "beside_threads")
    [found] = program.finish()
    assert found["square"] == 9
    assert found["who"]["parent"] != program.process.pid


def test_a_nursery_that_dies_costs_its_jobs_and_is_replaced(tmp_path: Path) -> None:
    error, after = script(tmp_path, "nursery_dies").finish()
    assert error["error"] == "Crashed"
    assert after == {"square": 9}


def test_a_program_that_is_killed_takes_all_along(tmp_path: Path) -> None:
    program = script(tmp_path, "for_ever")
    found = program.read()
    deaths = [Death(found["running"]), Death(found["nursery"])]
    program.end()
    for death in deaths:
        death.wait()


def test_settings_come_from_the_environment_and_are_checked(tmp_path: Path) -> None:
    [found] = script(tmp_path, "refused", PREFORK_OFFLOAD_MAX="none").finish()
    assert "PREFORK_OFFLOAD_MAX" in found["error"]


def test_a_main_module_that_starts_itself_when_it_is_imported_is_told_so(tmp_path: Path) -> None:
    program = script(tmp_path, "results", UNGUARDED="1")
    _, errors = program.process.communicate(timeout=GUARD_SECONDS)
    assert program.process.returncode != 0
    assert "put what starts it under `if __name__ == '__main__':`" in errors


@pytest.fixture
def other_server(tmp_path: Path) -> Iterator[str]:
    """The address of uvicorn with the app."""
    pytest.importorskip("uvicorn")
    command = ["-m", "uvicorn", "standalone:asgi", "--port", "0", "--no-use-colors", "--lifespan", "off"]
    program = Program(tmp_path, *command)
    assert program.process.stderr is not None
    for line in program.process.stderr:
        if "running on" in line:
            break
    yield line.split("running on ")[1].split()[0]
    program.process.send_signal(signal.SIGTERM)
    program.process.communicate(timeout=GUARD_SECONDS)  # until nothing of it is left


def test_offload_works_under_another_server(other_server: str) -> None:
    found = json.loads(fetch(other_server, "/").text)
    assert found["square"] == 144
    assert found["threads"] == 1
    assert json.loads(fetch(other_server, "/").text)["pid"] == found["pid"]
