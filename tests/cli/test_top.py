"""`prefork top` before it draws anything: what it needs, and what it says where that is missing."""

import json
import sys
from typing import Any

import msgspec
import pytest

from prefork.cli import main
from prefork.cli.top import Server
from prefork.errors import CommandError
from tests.control.statuses import status


class Answers:
    """A client whose server answers so."""

    def __init__(self, **results: Any) -> None:
        self._results = results
        self.closed = False

    def ask_raw(self, command: str, arguments: dict[str, object]) -> bytes:
        return json.dumps({"result": self._results[command]}).encode()

    def close(self) -> None:
        self.closed = True


def test_without_rich_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)
    assert main(["top"]) == 2
    assert capsys.readouterr().err == "prefork: error: top needs the package rich: pip install 'prefork[standard]'\n"


def test_without_a_server_it_says_so_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--once", "--control", "/nowhere/control"]) == 1
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert "/nowhere/control" in said.err


def test_a_server_of_another_version_is_a_clear_line() -> None:
    server = Server(lambda: Answers(status={"name": "shop"}))
    with pytest.raises(CommandError, match=r"the server is of another version: .*version"):
        server.look()


def test_one_look_is_everything_that_is_shown() -> None:
    known = msgspec.to_builtins(status())
    request = {"slot": 0, "pid": 100, "request": "GET /", "age": 1.0}
    client = Answers(status=known, events=[], jobs=[], connections={"requests": [request], "clients": []})
    server = Server(lambda: client)
    frame = server.look()
    assert frame.status == status()
    assert [one.request for one in frame.requests] == ["GET /"]
    server.close()
    assert client.closed


def test_while_a_server_stops_each_look_finds_out_who_listens_now() -> None:
    old, new = (msgspec.to_builtins(status(generation=number)) for number in (1, 2))
    usual: dict[str, Any] = {"events": [], "jobs": [], "connections": {"requests": [], "clients": []}}
    leaving = Answers(status={**old, "state": "stopping"}, **usual)
    found = iter([leaving, Answers(status={**new, "started_at": 1000.0}, **usual)])
    server = Server(lambda: next(found))
    assert server.look().status.state == "stopping"
    assert (server.look().status.generation, leaving.closed) == (2, True)
    assert server.look().status.generation == 2  # on the same connection
