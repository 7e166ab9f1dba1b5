"""Clients that people use get their answers: curl, httpx, wrk."""

import re
import shutil
import subprocess

import httpx
import pytest

from tests.processes.patience import GUARD_SECONDS
from tests.processes.tree import Tree

pytestmark = pytest.mark.processes


def run(*command: str) -> str:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=GUARD_SECONDS).stdout


def test_curl_gets_its_answers_on_one_connection(tree: Tree) -> None:
    tree.start()
    url = f"{tree.address}/who"
    out = run("curl", "--silent", "--show-error", "--write-out", " %{http_code} %{num_connects}\n", url, url)
    (first, *rest_of_first), (second, *rest_of_second) = (line.split() for line in out.splitlines())
    assert first == second
    assert rest_of_first == ["200", "1"]
    assert rest_of_second == ["200", "0"]


def test_httpx_reuses_its_connection(tree: Tree) -> None:
    tree.start()
    with httpx.Client(base_url=tree.address) as client:
        answers = [client.get("/who") for _ in range(20)]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1


def test_wrk_gets_no_error(tree: Tree) -> None:
    tree.start()
    out = run("wrk", "--threads", "1", "--connections", "20", "--duration", "1s", f"{tree.address}/who")
    requests = re.search(r"(\d+) requests in", out)
    assert requests is not None
    assert int(requests[1]) > 100, out
    assert "errors" not in out
    assert "Non-2xx" not in out
