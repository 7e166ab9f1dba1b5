"""The scenarios are the ones that the bars were set for, and put the same app behind servers that exist."""

import re
from argparse import ArgumentTypeError

import pytest

from benchmarks.fixtures import SIZES, contents
from benchmarks.loads import Echoes, Requests
from benchmarks.options import names, positive
from benchmarks.peers import PACKAGES
from benchmarks.probe import Answer, ProbeError
from benchmarks.run import KNOWN, arguments
from benchmarks.scenarios import BROWSER_FIELDS, PIPELINE_SCRIPT, PIPELINED, POST_BYTES, POST_SCRIPT, SCENARIOS
from benchmarks.servers import APPS, Server

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
REQUESTS = {scenario.name: scenario.load for scenario in SCENARIOS if isinstance(scenario.load, Requests)}
EVERY_SERVER = [
    pytest.param(server, id=f"{scenario.name}-{name}")
    for scenario in SCENARIOS
    for name, server in scenario.servers.items()
]


def test_a_name_means_one_scenario() -> None:
    assert len(BY_NAME) == len(SCENARIOS)


def test_prefork_is_in_every_scenario_and_every_bar_is_about_a_peer_in_it() -> None:
    for scenario in SCENARIOS:
        assert "prefork" in scenario.servers
        assert scenario.bars
        assert set(scenario.bars) <= set(scenario.servers) - {"prefork"}
        assert set(scenario.workers) <= set(scenario.servers)


def test_the_bars_for_apps_that_people_have_already() -> None:
    apps = ("asgi", "asgi-browser", "post", "wsgi", "websocket", "static-16k", "static-1m", "tls")
    assert {name: BY_NAME[name].bars for name in apps} == {
        "asgi": {"uvicorn": 0.7, "granian-asgi": 0.75, "fastpysgi-asgi": 0.8},
        "asgi-browser": {"uvicorn": 0.7},
        "post": {"uvicorn": 0.9},
        "wsgi": {"gunicorn-gthread": 0.35},
        "websocket": {"uvicorn": 0.8},
        "static-16k": {"starlette": 0.6},
        "static-1m": {"starlette": 0.6},
        "tls": {"uvicorn": 0.8},
    }


@pytest.mark.parametrize("server", EVERY_SERVER)
def test_every_server_comes_from_a_known_place_and_its_app_is_there(server: Server) -> None:
    assert server.home in {"self", "floor", "node", *PACKAGES}
    module, _, name = server.app.partition(":")
    if server.app:
        assert re.search(rf"^(async )?(def )?{name}\b", (APPS / f"{module}.py").read_text(), re.MULTILINE)


def test_a_server_is_started_on_its_port_with_the_files_it_serves() -> None:
    words = BY_NAME["static-16k"].servers["prefork"].command(4000, 1)
    assert "127.0.0.1:4000" in words
    assert [word for word in words if word.startswith("/static=") and "{" not in word]


@pytest.mark.parametrize("name", ["asgi", "asgi-browser", "post", "tls"])
def test_the_same_asgi_app_is_behind_prefork_and_those_whose_bars_it_has(name: str) -> None:
    scenario = BY_NAME[name]
    assert {scenario.servers[peer].app for peer in ("prefork", *scenario.bars)} == {scenario.servers["prefork"].app}
    assert scenario.servers["prefork"].app.endswith(":asgi")


def test_a_browser_sends_twelve_more_fields_and_a_cookie_of_90_bytes() -> None:
    assert len(BROWSER_FIELDS) == 12
    assert len(dict(BROWSER_FIELDS)["Cookie"]) == 90
    assert REQUESTS["browser"].request().count(b"\r\n") == REQUESTS["hello"].request().count(b"\r\n") + 12
    assert REQUESTS["asgi-browser"].request() == REQUESTS["browser"].request()


def test_the_probe_pipelines_as_many_requests_as_the_script_does() -> None:
    assert REQUESTS["pipelined"].request() == REQUESTS["hello"].request() * PIPELINED
    assert f"string.rep(wrk.format(), {PIPELINED})" in PIPELINE_SCRIPT.read_text()
    assert not REQUESTS["pipelined"].timed


def test_the_probe_posts_the_body_that_the_script_posts_and_wants_its_length() -> None:
    head, _, body = REQUESTS["post"].request().partition(b"\r\n\r\n")
    assert head.startswith(b"POST / HTTP/1.1\r\n")
    assert f"Content-Length: {POST_BYTES}".encode() in head
    assert body == b"x" * POST_BYTES
    assert f'string.rep("x", {POST_BYTES})' in POST_SCRIPT.read_text()
    REQUESTS["post"].expect(Answer(200, {"content-type": "text/plain"}, b"1000000"))
    with pytest.raises(ProbeError):
        REQUESTS["post"].expect(Answer(200, {"content-type": "text/plain"}, b"65536"))


@pytest.mark.parametrize(("name", "size"), [("16k", 16_384), ("1m", 1_048_576)])
def test_a_file_is_wanted_byte_for_byte(name: str, size: int) -> None:
    load, fields = REQUESTS[f"static-{name}"], {"content-type": "application/octet-stream"}
    body = contents(f"{name}.bin")
    assert len(body) == SIZES[f"{name}.bin"] == size
    assert load.request().startswith(f"GET /static/{name}.bin HTTP/1.1\r\n".encode())
    load.expect(Answer(200, fields, body))
    with pytest.raises(ProbeError):
        load.expect(Answer(200, fields, body[:-1] + bytes([body[-1] ^ 1])))


def test_messages_are_of_64_bytes() -> None:
    assert BY_NAME["websocket"].load == Echoes(64)


def test_wrk_sends_the_fields_that_the_probe_sends() -> None:
    assert REQUESTS["connection"].wrk_options() == ["-H", "Connection: close"]
    assert b"\r\nConnection: close\r\n" in REQUESTS["connection"].request()


def test_a_server_is_chosen_by_its_name_in_any_scenario() -> None:
    assert arguments(["--only", "fastpysgi-wsgi,prefork-native"]).only == ["fastpysgi-wsgi", "prefork-native"]
    assert KNOWN[0] == "prefork"
    assert len(KNOWN) == len(set(KNOWN))


def test_names_keep_their_order_and_unknown_ones_are_named() -> None:
    assert names(["a", "b", "c"])("c, a,c") == ["c", "a"]
    with pytest.raises(ArgumentTypeError, match=r"unknown: x; known: a, b"):
        names(["a", "b"])("a,x")


@pytest.mark.parametrize("word", ["0", "-1", "1.5", "many"])
def test_a_count_is_a_whole_number_from_one(word: str) -> None:
    assert positive("1") == 1
    with pytest.raises(ArgumentTypeError):
        positive(word)
