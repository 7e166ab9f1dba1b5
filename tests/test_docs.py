"""The pages name flags that exist, and the page for those who come from another server names all of its flags."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from prefork.cli.subcommands import ALL

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9_-]*[a-z0-9]")
FOREIGN = {  # of other programs
    "benchmarks.md": "--scenario --only --rounds --seconds --static-path-mount",
    "deploy.md": "--cpus --now --read-only --stop-timeout --tmpfs",
    "dask.md": "--port --nworkers --nthreads --memory-limit",
    "frameworks.md": "--no-input",
    "from-node.md": "--name --wait-ready --listen-timeout --kill-timeout --watch --ignore-watch --max-restarts "
    "--exp-backoff-restart-delay --max-memory-restart --cron-restart --ppid",
    "process.md": "--deploy-hook",
    "systemd.md": "--kill-whom --now --signal",
    "upgrade.md": "--init",
    "tracing.md": "--rm",
    "websocket.md": "--mode --spec",
    "wsgi.md": "--worker-connections",
}
MIGRATING = (ROOT / "docs" / "migrating.md").read_text()


def ours() -> set[str]:
    parameters = [parameter for one in ALL.values() for parameter in one.params]
    return {flag for parameter in parameters for flag in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "migrating.md"], ids=lambda page: page.name)
def test_flags_that_a_page_names_exist(page: Path) -> None:
    assert set(FLAG.findall(page.read_text())) - ours() - set(FOREIGN.get(page.name, "").split()) == set()


def test_flags_that_the_page_on_migrating_maps_to_exist() -> None:
    second = re.findall(r"^\| .+? \| (.+) \|$", MIGRATING, re.MULTILINE)
    commands = re.findall(r"^prefork .+", MIGRATING, re.MULTILINE)
    named = set(FLAG.findall("\n".join(second + commands)))
    assert len(named) > 40
    assert named - ours() == set()


@pytest.mark.parametrize("server", ["uvicorn", "hypercorn"])
def test_every_flag_of_another_server_is_mapped(server: str) -> None:
    wide = {**os.environ, "COLUMNS": "200"}  # no flag is broken in two
    command = [sys.executable, "-m", server, "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, env=wide)
    section = MIGRATING.partition(f"\n## {server}\n")[2].partition("\n## ")[0]
    first = re.findall(r"^\| (.+?) \| ", section, re.MULTILINE)
    theirs = set(FLAG.findall(shown.stdout)) - {"--help", "--version"}
    assert len(theirs) > 20
    assert {plain(flag) for flag in theirs} - {plain(flag) for flag in FLAG.findall("\n".join(first))} == set()


def plain(flag: str) -> str:
    """One name for a switch and its opposite."""
    return flag.replace("--no-", "--", 1)
