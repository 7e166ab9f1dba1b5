"""What a line of the control socket may say, and what is said of one that may not."""

import json
from typing import Any

import pytest

from prefork.control import wire
from prefork.errors import CommandError


def read(command: str, **arguments: Any) -> dict[str, object]:
    name, checked = wire.read_request(json.dumps({"command": command, "arguments": arguments}).encode())
    assert name == command
    return checked


def refusal(line: bytes) -> str:
    with pytest.raises(CommandError) as refused:
        wire.read_request(line)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_arguments_come_as_their_kind_however_they_are_written() -> None:
    assert read("kill", slot=1) == read("kill", slot="1") == {"slot": 1}
    assert read("reload", canary="10%") == read("reload", canary="0.1") == read("reload", canary=0.1) == {"canary": 0.1}
    assert read("scale", workers=4) == read("scale", workers="4") == {"workers": "4"}
    assert read("stop", fast=True) == {"fast": True}
    assert read("stop", fast=None) == read("stop") == {}


@pytest.mark.parametrize(
    ("command", "arguments", "words"),
    [
        ("kill", {}, "kill needs slot"),
        ("kill", {"slot": -1}, "whole number"),
        ("kill", {"slot": 1.5}, "whole number"),
        ("kill", {"slot": True}, "whole number"),
        ("kill", {"slot": [1]}, "whole number"),
        ("kill", {"slot": 1, "now": 1}, "no argument 'now'"),
        ("reload", {"canary": 1}, "share"),
        ("reload", {"canary": "0%"}, "share"),
        ("reload", {"canary": "many"}, "share"),
        ("reload", {"canary": "1e-1"}, "share"),
        ("log-level", {"level": "loud"}, "one of debug, info"),
        ("scale", {"workers": ""}, "a text"),
        ("scale", {"workers": "1\n2"}, "a text"),
        ("stop", {"fast": "yes"}, "true or false"),
        ("explode", {}, "there is no command 'explode'; there are status"),
    ],
)
def test_what_is_wrong_with_an_argument_is_said(command: str, arguments: dict[str, Any], words: str) -> None:
    assert words in refusal(json.dumps({"command": command, "arguments": arguments}).encode())


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"status",
        b"GET / HTTP/1.1",
        b"\x00\xff\xfe",
        b"[]",
        b"null",
        b'{"command": 1}',
        b'{"command": "status", "arguments": []}',
        b'{"command": "status", "more": 1}',
        b"[" * 50_000,
        b'{"command": "' + b"x" * 60_000 + b'"}',
    ],
)
def test_garbage_gets_one_short_line(line: bytes) -> None:
    assert len(refusal(line)) < 600


def test_an_answer_that_is_too_large_says_so_instead() -> None:
    assert b"too large" in wire.answer(["x" * 1000] * 9000)
    assert json.loads(wire.answer({"a": float("nan")})) == {"result": {"a": None}}
    assert json.loads(wire.answer(CommandError("two\nlines"))) == {"error": "two lines"}
