"""`prefork check` imports the app as `serve` would, and its exit code tells how that went."""

import subprocess
from pathlib import Path

import pytest

from tests.certificates import Folder
from tests.cli import run_python


def check(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `prefork check` there, in a process of its own, because it imports."""
    return run_python(folder, "-m", "prefork", "check", *arguments)


def test_a_good_app_is_found(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("async def app(request):\n    return 'hello'\n")
    done = check(tmp_path, "main:app", "--workers", "2")
    assert (done.returncode, done.stderr) == (0, "")
    assert "main:app" in done.stdout
    assert "workers (--workers)" in done.stdout
    assert done.stdout.endswith("ok\n")


def test_the_app_may_be_in_another_folder(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "main.py").write_text("async def app(request):\n    return 'hello'\n")
    assert check(tmp_path, "main:app", "--app-dir", "src").returncode == 0
    assert check(tmp_path, "main:app").returncode == 2


@pytest.mark.parametrize("arguments", [["main:other"], ["nothing:app"], ["main"], ["main:app", "--workers", "0"], []])
def test_a_wrong_target_or_setting_is_one_line_and_exit_code_2(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "main.py").write_text("async def app(request):\n    return 'hello'\n")
    done = check(tmp_path, *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("prefork: error: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--max-descriptors", "10"), "max_descriptors = 10: must be 0 or ≥ 256"),
        (("--max-memory", "1M"), "max_memory = 1048576: a worker has "),
        (("--chdir", "nowhere"), "chdir = "),
    ],
)
def test_what_the_server_could_not_start_with_is_told(tmp_path: Path, flags: tuple[str, ...], words: str) -> None:
    (tmp_path / "main.py").write_text("async def app(request):\n    return 'hello'\n")
    done = check(tmp_path, "main:app", *flags)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(f"prefork: error: {words}")


def test_the_import_has_the_umask_of_the_server(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("open('made', 'w').close()\nasync def app(request):\n    return 'hello'\n")
    assert check(tmp_path, "main:app", "--umask", "077").returncode == 0
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o600


def test_a_certificate_that_cannot_be_shown_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("async def app(request):\n    return 'hello'\n")
    cert, key = Folder(tmp_path).make("a", "a.example")
    flags = ["--tls-cert", cert, "--tls-key"]
    assert check(tmp_path, "main:app", *flags, key).returncode == 0
    done = check(tmp_path, "main:app", *flags, cert)
    assert done.returncode == 2
    assert done.stderr == f"prefork: error: tls_key: {cert}: there is no private key in PEM in it\n"


@pytest.mark.parametrize("fault", ["1 / 0", "raise SystemExit(5)", "import no_such_module_of_the_app"])
def test_an_import_that_fails_is_a_traceback_and_exit_code_3(tmp_path: Path, fault: str) -> None:
    (tmp_path / "main.py").write_text(fault)
    done = check(tmp_path, "main:app")
    assert done.returncode == 3
    assert f"    {fault}\n" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("prefork: error: main:app: importing the app raised ")
