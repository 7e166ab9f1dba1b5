"""`from prefork import App` works, and importing prefork alone loads no framework."""

import ast
from pathlib import Path

import pytest

import prefork
from prefork import web
from prefork.jobs import client, hooks, job, options
from prefork.processes import become, server

ELSEWHERE = {
    "Job": job,
    "Offload": options,
    "Progress": job,
    "Server": server,
    "offload": client,
    "on_offload_start": hooks,
    "on_offload_stop": hooks,
    "serve": become,
}


def test_every_export_is_the_one_of_the_framework_or_of_its_layer() -> None:
    for name in set(prefork.__all__) - {"__version__"}:
        assert getattr(prefork, name) is getattr(ELSEWHERE.get(name, web), name)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        prefork.Nothing  # noqa: B018


def test_importing_prefork_imports_nothing_else_of_it() -> None:
    source = Path(prefork.__file__).read_text()
    at_import = [node for node in ast.parse(source).body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [node.module for node in at_import if isinstance(node, ast.ImportFrom)] == ["typing"]
    assert not [node for node in at_import if isinstance(node, ast.Import)]
