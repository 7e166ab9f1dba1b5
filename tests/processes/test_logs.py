"""Logs are whole lines that nobody can forge, written without holding up a request, and reopened on demand."""

import json
import os
import re
import signal
import time
from collections.abc import Callable

import pytest

from tests.processes.load import Load
from tests.processes.patience import GUARD_SECONDS
from tests.processes.tree import CALM, Tree

pytestmark = pytest.mark.processes

AGENT = r'she said "hi"\n\r' + "\t é"
FORGED = '" 200 0 "'


def test_each_request_is_one_line_of_json_with_its_fields_intact(tree: Tree) -> None:
    tree.start("faults:app", "--access-log", workers=1)
    tree.get('/who?q="', f"user-agent: {AGENT}\r\nreferer: {FORGED}\r\n")
    pid = tree.worker(0)
    assert tree.stop() == 0
    [line] = tree.output.records
    assert isinstance(line.pop("seconds"), float)
    assert re.fullmatch(r"127\.0\.0\.1:\d+", str(line.pop("client")))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(line.pop("time")))
    assert line == {
        "level": "info",
        "role": "worker",
        "slot": 0,
        "generation": 1,
        "pid": pid,
        "logger": "prefork.access",
        "request": 'GET /who?q=" HTTP/1.1',
        "status": 200,
        "bytes": len(str(pid)),
        "referer": FORGED,
        "user_agent": AGENT,
    }


def test_each_request_is_one_line_of_text_with_its_fields_escaped(tree: Tree) -> None:
    tree.start("faults:app", "--access-log", "--log-format", "text", workers=1)
    tree.get('/who?q="', f"user-agent: {AGENT}\r\nreferer: {FORGED}\r\n")
    assert tree.stop() == 0
    [line] = (str(record["message"]) for record in tree.output.records)
    quoted = r'"((?:[^"\\]|\\.)*)"'
    found = re.search(rf" worker 0 g1 \[\d+\] 127\.0\.0\.1:\d+ {quoted} 200 \d+ [\d.]+ms {quoted} {quoted}$", line)
    assert found is not None, line
    assert [json_unescape(text) for text in found.groups()] == ['GET /who?q=" HTTP/1.1', FORGED, AGENT]


def test_every_answer_is_in_the_access_log_when_the_server_has_stopped(tree: Tree) -> None:
    tree.start("faults:app", "--access-log", *CALM, workers=3)
    with Load(tree.address, keep_alive=2, closing=2) as load:
        load.wait_answers(50)
    assert tree.stop() == 0
    assert len(tree.output.records) == load.answers.total()
    assert {record["status"] for record in tree.output.records} == {200}


def test_there_is_no_access_log_unless_wanted(tree: Tree) -> None:
    tree.start()
    tree.get("/who")
    assert tree.stop() == 0
    assert tree.output.records == []


def test_an_access_log_that_nobody_reads_holds_up_nobody(tree: Tree) -> None:
    os.mkfifo(tree.folder / "access.log")
    reader = os.open(tree.folder / "access.log", os.O_RDWR)
    try:
        tree.start("faults:app", "--access-log", "--access-log-file", "access.log", *CALM, workers=1)
        client = tree.client()
        for _ in range(200):  # several times what the pipe holds
            assert client.get("/who", f"user-agent: {'x' * 4000}\r\n").status == 200
    finally:
        os.close(reader)


def test_logs_that_were_moved_away_are_opened_anew(tree: Tree) -> None:
    tree.start(
        "faults:app",
        "--log-file",
        "server.log",
        "--access-log",
        "--access-log-file",
        "access.log",
        "--log-format",
        "text",
    )
    server, access = tree.folder / "server.log", tree.folder / "access.log"
    for path in (server, access):
        path.rename(path.with_suffix(".old"))
    tree.send_signal(signal.SIGUSR1)
    repeat(lambda: tree.get("/who"), until=lambda: access.exists() and len(slots(access.read_text())) == 2)
    repeat(lambda: tree.send_signal(signal.SIGTTOU), until=lambda: server.exists() and "scaling" in server.read_text())
    tree.get("/who?marked")
    assert tree.stop() == 0
    assert access.read_text().count("marked") == 1
    assert "marked" not in access.with_suffix(".old").read_text()
    assert "serving on" in server.with_suffix(".old").read_text()
    assert "stopped" in server.read_text()


def test_the_apps_own_log_moves_too(tree: Tree) -> None:
    tree.start("talkative:app", "--log-file", "server.log", workers=1)
    path = tree.folder / "server.log"
    path.rename(path.with_suffix(".old"))
    tree.send_signal(signal.SIGUSR1)
    repeat(lambda: tree.get("/"), until=lambda: path.exists() and "said by the app" in path.read_text())


@pytest.mark.parametrize("preload", ["--preload", "--no-preload"])
def test_an_app_that_sets_up_logging_for_itself_does_not_silence_the_server(tree: Tree, preload: str) -> None:
    tree.write(
        "silencer.py",
        "import logging.config\n"
        "logging.config.dictConfig({'version': 1, 'root': {'level': 'INFO'}})\n"  # disables all other loggers
        "async def app(request):\n"
        "    raise ValueError('boom')\n",
    )
    tree.start("silencer:app", preload, workers=1)
    assert tree.get("/").status == 500
    tree.log.wait("ValueError: boom")


def repeat(act: Callable[[], object], until: Callable[[], bool]) -> None:
    """Act until the effect shows."""
    deadline = time.monotonic() + GUARD_SECONDS
    while not until():
        assert time.monotonic() < deadline, "patience has ended"
        act()


def slots(access_log: str) -> set[str]:
    return {match[1] for match in re.finditer(r" worker (\d) ", access_log)}


def json_unescape(text: str) -> str:
    return str(json.loads('"' + text.replace("\\x", "\\u00") + '"'))
