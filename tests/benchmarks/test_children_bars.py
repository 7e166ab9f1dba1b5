"""Each bar of children is reached exactly up to its limit, and one without its figure or its peer stays open."""

from benchmarks import children_bars
from benchmarks.children_bars import BARS
from benchmarks.children_figures import FIGURES
from benchmarks.rounds import Sample
from benchmarks.verdicts import Verdict


def samples(values: dict[str, float]) -> list[Sample]:
    return [Sample(name, 1, value) for name, value in values.items()]


def said(verdicts: list[Verdict]) -> list[str]:
    return [verdict.bar.verdict() for verdict in verdicts]


def test_every_figure_has_bars_and_every_bar_a_figure() -> None:
    assert list(BARS) == list(FIGURES)


def test_a_figure_that_nobody_gave_passes_no_bar() -> None:
    assert {word for bars in BARS.values() for word in said(bars([]))} == {"not measured"}


def test_a_program_is_judged_under_uvloop_from_a_parent_of_a_realistic_size() -> None:
    theirs = {"heavy uvloop asyncio 1": 2, "heavy uvloop asyncio 16": 1}
    others = {"small uvloop prefork 1": 99, "small uvloop asyncio 1": 1, "heavy asyncio prefork 1": 99}
    reached = samples({**theirs, **others, "heavy uvloop prefork 1": 2.6, "heavy uvloop prefork 16": 1.3})
    assert said(children_bars.execute(reached)) == ["yes", "yes"]
    missed = samples({**theirs, **others, "heavy uvloop prefork 1": 2.61, "heavy uvloop prefork 16": 1.31})
    assert said(children_bars.execute(missed)) == ["**no**", "**no**"]


def test_a_stream_is_judged_by_its_speed() -> None:
    both = {"uvloop prefork": 0.8, "uvloop asyncio": 1, "asyncio prefork": 0.79, "asyncio asyncio": 1}
    assert said(children_bars.stream(samples(both))) == ["yes", "**no**"]


def test_a_fork_is_judged_by_its_median_and_not_by_a_peer() -> None:
    rounds = [Sample("fork", number, value) for number, value in enumerate((15.0, 14.0, 99.0))]
    assert said(children_bars.fork(rounds)) == ["yes"]
    assert said(children_bars.fork([*rounds[1:], Sample("fork", 3, 15.1)])) == ["**no**"]


def test_a_message_is_judged_by_each_way_to_drive_a_pipe() -> None:
    found = children_bars.message(samples({"fork": 25, "actor": 26, "pipe": 70, "pipe-ask": 50}))
    assert said(found) == ["yes", "yes", "yes", "**no**"]


def test_an_array_is_judged_by_the_pipes_better_way() -> None:
    assert said(children_bars.array(samples({"actor": 30, "pipe": 200, "pipe-ask": 240}))) == ["yes"]
    assert said(children_bars.array(samples({"actor": 31, "pipe": 300, "pipe-ask": 200}))) == ["**no**"]
