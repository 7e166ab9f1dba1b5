"""The examples of docs/embedding.md, as they stand there."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.embedding.servers import uvicorn_serving
from tests.processes.patience import GUARD_SECONDS
from tests.processes.tree import Tree
from tests.testing.test_plugin import PLUGIN

pytest_plugins = "pytester"

TEXT = (Path(__file__).parents[2] / "docs" / "embedding.md").read_text()
EXAMPLES = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", TEXT, re.DOTALL))


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    tree = Tree(tmp_path)
    yield tree
    tree.close()


@pytest.mark.processes
def test_a_script_that_serves(tree: Tree) -> None:
    ready = "ready_fd=int(sys.argv[sys.argv.index('--ready-fd') + 1]), log_format='json'"
    script = EXAMPLES["main.py"].replace('bind="127.0.0.1:8000"', f"bind='127.0.0.1:0', {ready}")
    tree.write("main.py", "import sys\n" + script)
    tree.start(command=(sys.executable, "main.py"))
    assert tree.get("/").text == "Hello, world!"
    assert len(tree.processes("worker")) == 4


def test_a_server_on_a_running_loop(tmp_path: Path) -> None:
    (tmp_path / "loop.py").write_text(EXAMPLES["loop.py"])
    done = subprocess.run(
        [sys.executable, "loop.py"], cwd=tmp_path, capture_output=True, text=True, timeout=GUARD_SECONDS, check=True
    )
    assert (done.stdout, done.stderr) == ("Hello, world!\n", "")


@pytest.mark.processes
def test_fixtures(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(shop=EXAMPLES["main.py"], test_shop=EXAMPLES["test_shop.py"])
    pytester.runpytest_subprocess("-q", "-W", "error", *PLUGIN).assert_outcomes(passed=2)


def test_an_app_in_another() -> None:
    space: dict[str, object] = {}
    exec(EXAMPLES["site.py"], space)
    with uvicorn_serving(space["site"]) as url:
        assert httpx.get(f"{url}/api/hello", trust_env=False).text == "Hello from /api"


def test_every_example_is_tested() -> None:
    assert set(EXAMPLES) == {"main.py", "loop.py", "test_shop.py", "site.py"}
    assert TEXT.count("```python") == len(EXAMPLES)
