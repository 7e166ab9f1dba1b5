"""The scenarios are the ones that the bars were set for, and name only servers that exist."""

from argparse import ArgumentTypeError

import pytest

from benchmarks.options import names, positive
from benchmarks.scenarios import BROWSER_FIELDS, PIPELINE_SCRIPT, PIPELINED, SCENARIOS
from benchmarks.servers import HELLO

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


def test_every_server_of_a_scenario_is_known_and_every_bar_is_about_one_of_them() -> None:
    for scenario in SCENARIOS:
        assert set(scenario.servers) <= set(HELLO)
        assert set(scenario.bars) <= set(scenario.servers)
        assert set(scenario.workers) <= set(scenario.servers)


def test_a_browser_sends_twelve_more_fields_and_a_cookie_of_90_bytes() -> None:
    assert len(BROWSER_FIELDS) == 12
    assert len(dict(BROWSER_FIELDS)["Cookie"]) == 90
    assert BY_NAME["browser"].request().count(b"\r\n") == BY_NAME["hello"].request().count(b"\r\n") + 12


def test_the_probe_pipelines_as_many_requests_as_the_script_does() -> None:
    assert BY_NAME["pipelined"].request() == BY_NAME["hello"].request() * PIPELINED
    assert f"string.rep(wrk.format(), {PIPELINED})" in PIPELINE_SCRIPT.read_text()


def test_wrk_sends_the_fields_that_the_probe_sends() -> None:
    assert BY_NAME["connection"].wrk_options() == ["-H", "Connection: close"]
    assert b"\r\nConnection: close\r\n" in BY_NAME["connection"].request()


def test_names_keep_their_order_and_unknown_ones_are_named() -> None:
    assert names(["a", "b", "c"])("c, a,c") == ["c", "a"]
    with pytest.raises(ArgumentTypeError, match=r"unknown: x; known: a, b"):
        names(["a", "b"])("a,x")


@pytest.mark.parametrize("word", ["0", "-1", "1.5", "many"])
def test_a_count_is_a_whole_number_from_one(word: str) -> None:
    assert positive("1") == 1
    with pytest.raises(ArgumentTypeError):
        positive(word)
