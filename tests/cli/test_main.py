"""Every mistake ends in one clear line and its exit code; `serve` hands the settings to the master."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import prefork
from prefork.cli import main
from prefork.errors import BindError, BootError, Disconnected, PreforkError, UsageError
from prefork.settings import Settings
from tests.cli import ENVIRONMENT, run_python

Run = Callable[[Settings, str, Callable[[], None]], int]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, so that no settings file of the checkout counts."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def master(monkeypatch: pytest.MonkeyPatch) -> Callable[[Run], None]:
    """Puts another `run` in the master's place."""

    def replace(run: Run) -> None:
        module = ModuleType("prefork.processes.master")
        module.__dict__["run"] = run
        monkeypatch.setitem(sys.modules, module.__name__, module)

    return replace


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"prefork {prefork.__version__}\n"


def test_without_a_command_help_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Usage: prefork" in captured.err


def test_serve_hands_settings_and_target_to_the_master(master: Callable[[Run], None]) -> None:
    calls = []

    def run(settings: Settings, target: str, begun: Callable[[], None]) -> int:
        calls.append((settings, target))
        return 7

    master(run)
    assert main(["serve", "main:app", "--workers", "3", "--no-preload", "--bind", "fd://3", "--bind", "[::1]:0"]) == 7
    assert calls == [(Settings(workers=3, preload=False, bind=["fd://3", "[::1]:0"]), "main:app")]


def test_serve_takes_the_target_from_the_settings_file(folder: Path, master: Callable[[Run], None]) -> None:
    (folder / "prefork.toml").write_text('target = "main:app"')
    master(lambda settings, target, begun: 5 if target == "main:app" else 1)
    assert main(["serve"]) == 5


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("wrong"), 2),
        (BootError("wrong"), 3),
        (BindError("wrong"), 4),
        (Disconnected("wrong"), 1),
    ],
)
def test_an_error_is_one_line_and_its_exit_code(
    master: Callable[[Run], None], capsys: pytest.CaptureFixture[str], error: PreforkError, code: int
) -> None:
    def run(settings: Settings, target: str, begun: Callable[[], None]) -> int:
        raise error

    master(run)
    assert main(["serve", "main:app"]) == code
    assert capsys.readouterr().err == "prefork: error: wrong\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serve"], "which app? "),
        (["serve", "a:b", "c:d"], "Got unexpected extra argument"),
        (["serve", "a:b", "--wrkers", "3"], "No such option"),
        (["serve", "a:b", "--workers"], "Option '--workers' requires an argument"),
        (["serve", "a:b", "--workers", "0"], "--workers: workers = '0' must be a whole number ≥ 1"),
        (["serve", "a:b", "--config", "no.toml"], "--config: there is no file 'no.toml'"),
        (["sevre", "a:b"], "No such command 'sevre'"),
    ],
)
def test_a_usage_mistake_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"prefork: error: {message}")
    assert captured.err.count("\n") == 1


def test_the_module_is_the_command(folder: Path) -> None:
    done = run_python(folder, "-m", "prefork", "settings", "--workers", "none")
    assert done.returncode == 2
    assert done.stderr.startswith("prefork: error: --workers: workers = 'none' must be ")


def test_output_that_nobody_reads_is_no_traceback(folder: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "prefork", "settings"],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


def test_the_master_loads_neither_the_app_layer_nor_the_event_loop(folder: Path) -> None:
    done = run_python(folder, "-c", "import sys, prefork.cli, prefork.processes.master\nprint(*sys.modules)")
    assert done.stderr == ""
    heavy = {"asyncio", "uvloop", "httptools", "prefork.http", "prefork.web", "prefork.apps"}
    assert heavy & set(done.stdout.split()) == set()
