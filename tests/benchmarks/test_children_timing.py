"""Ways that are compared take turns, each result is checked, and what does not count is left out."""

import asyncio

import pytest

from benchmarks.apps.children_timing import WrongAnswer, check, in_turns


def test_ways_take_turns_by_blocks_and_the_first_of_each_is_not_counted() -> None:
    calls: list[str] = []

    async def one() -> None:
        calls.append("one")

    async def other() -> None:
        calls.append("other")

    lines = asyncio.run(in_turns({"one": one, "other": other}, 0, block=2))
    assert calls == ["one", "one", "other", "other"] * 2
    assert [(line["name"], line["count"]) for line in lines] == [("one", 2), ("other", 2)]


def test_a_call_can_say_what_of_it_counts_and_how_many_share_it() -> None:
    async def slow_to_end() -> int:
        return 3_200

    [line] = asyncio.run(in_turns({"fork": slow_to_end}, 0, per=16))
    assert line["value"] == pytest.approx(200e-9)


def test_a_wrong_answer_is_an_error_and_not_a_figure() -> None:
    async def wrong() -> None:
        check(b"Hello", b"")

    with pytest.raises(WrongAnswer, match="Hello"):
        asyncio.run(in_turns({"wrong": wrong}, 0))
