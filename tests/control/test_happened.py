"""What log lines say beside their text: each kind is told somewhere, and the dashboard knows no other."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import prefork
from prefork.control import dashboard
from prefork.control.happened import KINDS, happened
from prefork.core.roster import WorkerHandle

NOT_ON_THE_TIME_LINE = {"drained", "lost"}  # these are told by the mark beside them


def told() -> Iterator[str]:
    """The kinds that are passed in the code."""
    for path in Path(prefork.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "happened":
                yield str(ast.literal_eval(node.args[0]))


def test_each_kind_is_told_by_some_line() -> None:
    assert set(told()) == set(KINDS)


def test_the_dashboards_time_line_knows_them_and_no_other() -> None:
    table = re.search(r"const KINDS = \{\n(.*?)^\};", dashboard.page().decode(), re.MULTILINE | re.DOTALL)
    assert table is not None
    assert set(re.findall(r"^  (\w+): \{", table[1], re.MULTILINE)) == set(KINDS) - NOT_ON_THE_TIME_LINE


def test_a_line_about_a_worker_says_which() -> None:
    handle = WorkerHandle(slot=3, generation=2, serial=1, ordered_at=0.0, pid=77)
    assert happened("died", handle, status="signal SIGKILL") == {
        "event": "died",
        "worker": {"slot": 3, "generation": 2, "pid": 77},
        "status": "signal SIGKILL",
    }
    assert happened("scale") == {"event": "scale"}
