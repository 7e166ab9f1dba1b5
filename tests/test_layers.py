"""Hold the lines between the parts: imports point left, and in-memory tests touch neither clock nor kernel."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

LEFT_TO_RIGHT = "errors < settings < messages < core < system < metrics < jobs < children < http < web < apps < control"
ORDER = [*LEFT_TO_RIGHT.split(" < "), "processes", "cli", "testing"]
ABOVE_ALL = ("__init__", "__main__")  # the public names and the command: they may import anything
ROOT = Path(__file__).parent.parent

SOURCES = sorted((ROOT / "prefork").rglob("*.py"))
IN_MEMORY = sorted(path for part in ("core", "http") for path in (ROOT / "tests" / part).rglob("*.py"))
NOT_IN_MEMORY = {"time", "socket", "subprocess"}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path) -> Iterator[str]:
    """The dotted names a file imports, wherever in the file it does; a `from` import with each name it takes."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1]] if node.level else []
            base += node.module.split(".") if node.module else []
            yield from (".".join([*base, alias.name]) for alias in node.names)


def layers(path: Path) -> Iterator[str]:
    """The layers a file imports from; `prefork` for a public name (not `__version__`, nor the package as such)."""
    for imported in imports(path):
        root, _, rest = imported.partition(".")
        if root == "prefork" and rest and not rest.startswith("__"):
            first = rest.partition(".")[0]
            yield first if first in ORDER else "prefork"


def layer(path: Path) -> str:
    return path.relative_to(ROOT / "prefork").with_suffix("").parts[0]


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_imports_point_left(path: Path) -> None:
    owner = layer(path)
    if owner in ABOVE_ALL:
        return
    for imported in layers(path):
        assert imported in ORDER, f"{owner} must not import the public names: they import it"
        assert ORDER.index(imported) <= ORDER.index(owner), f"{owner} must not import {imported}"


def test_every_module_has_its_place_in_the_order() -> None:
    assert {layer(path) for path in SOURCES} - {*ORDER, *ABOVE_ALL} == set()


def test_the_errors_and_decisions_know_nothing_of_the_system() -> None:
    for path in SOURCES:
        if layer(path) in ("errors", "core"):
            assert not {imported.split(".")[0] for imported in imports(path)} & {"os", "socket", "time", "asyncio"}, (
                path
            )


def test_the_master_has_nothing_loaded_of_the_app_and_its_loop_or_of_other_commands() -> None:
    """What it does not import cannot bring it down, and its molds fork without a trace of it."""
    program = "import sys, prefork.cli, prefork.processes.master; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    forbidden = {"asyncio", "uvloop", "httptools", "prefork.http", "prefork.web", "prefork.apps", "watchfiles"}
    other_commands = {"prefork.cli.subcommands", "prefork.cli.control", "prefork.cli.top", "rich"}
    assert not set(loaded.split()) & (forbidden | other_commands)


@pytest.mark.parametrize("path", IN_MEMORY, ids=name)
def test_in_memory_tests_use_no_clock_no_socket_and_no_process(path: Path) -> None:
    assert not {imported.split(".")[0] for imported in imports(path)} & NOT_IN_MEMORY


def test_the_line_is_held_against_every_way_to_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    path = tmp_path / "prefork/core/bad.py"
    path.parent.mkdir(parents=True)
    path.write_text("""
import prefork.web.app
from prefork import http, App
from ..system import log
from . import roster
def later():
    from prefork.cli import main
""")
    assert list(layers(path)) == ["web", "http", "prefork", "system", "core", "cli"]
