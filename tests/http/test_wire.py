"""Bytes on the wire, one file a case: the same statuses, whole, byte by byte, and cut in two at every position.

A file in `wire/` holds what is sent (`send`: strings whose characters are bytes), and then: the final `statuses`, the
requests the app has `handled` (method, target, body), and whether the server has `closed`.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from prefork.http.exchange import Exchange
from tests.http.server import PLAIN, App, Server, read_all

CASES = sorted((Path(__file__).parent / "wire").glob("*.json"))


@dataclass
class Outcome:
    statuses: list[int]
    closed: bool
    handled: list[str] = field(default_factory=list)


def load(path: Path) -> tuple[bytes, Outcome, dict[str, Any]]:
    case = json.loads(path.read_text())
    case.pop("promise")
    data = "".join(case.pop("send")).encode("latin-1")
    return data, Outcome(case.pop("statuses"), case.pop("closed"), case.pop("handled")), case


def noting(handled: list[str]) -> App:
    """An app that writes down each request it gets."""

    async def app(exchange: Exchange) -> None:
        body = await read_all(exchange)
        assert b"x-trailer" not in dict(exchange.fields)
        handled.append(f"{exchange.method} {exchange.target.decode()} {body.decode('latin-1')}")
        exchange.respond(200, PLAIN, b"answer")

    return app


def run(
    pieces: list[bytes],
    settings: dict[str, Any],
    half_close: bool = False,
    methods: Any = (),
    make: Callable[[list[str]], App] = noting,
) -> Outcome:
    handled: list[str] = []
    server = Server(make(handled), **settings)
    client = server.connect()
    client.send(*pieces)
    if half_close:
        client.half_close()
    replies = [reply for reply in client.replies(*methods) if reply.status >= 200]
    assert all(reply.complete for reply in replies)
    for reply in replies:
        assert (reply.fields.get("connection") == "close") or reply.status == 200
        assert reply.status == 200 or reply.body.count(b"\n") == 1
    if replies:
        assert not client.transport.reset, "an answer must not be lost to a reset"
    if client.ended and not client.transport.lost:  # the server has said all, and waits for the client to go
        client.half_close()
        assert client.transport.lost
    assert server.flight.in_flight == {}
    return Outcome([reply.status for reply in replies], client.ended, handled)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_each_case_has_the_same_outcome_however_the_network_cuts_it(path: Path) -> None:
    data, expected, options = load(path)
    settings, rest = options.pop("settings", {}), options
    assert run([data], settings, **rest) == expected
    assert run([data[at : at + 1] for at in range(len(data))], settings, **rest) == expected
    for at in range(1, len(data)):
        assert run([data[:at], data[at:]], settings, **rest) == expected, f"cut behind {data[:at]!r}"


def test_every_status_that_bad_input_can_get_has_a_case() -> None:
    seen = {status for path in CASES for status in load(path)[1].statuses}
    assert seen == {200, 400, 413, 414, 417, 431, 501, 505}  # 408 needs a clock: test_timeouts
