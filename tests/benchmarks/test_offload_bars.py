"""Each bar of offload is reached exactly up to its limit, and one without its peer stays open."""

from benchmarks import offload_bars
from benchmarks.offload_figures import Jobs, Mixed
from benchmarks.rounds import Sample
from benchmarks.verdicts import Verdict


def samples(**values: float) -> list[Sample]:
    return [Sample(name.replace("_", "-"), 1, value) for name, value in values.items()]


def said(verdicts: list[Verdict]) -> list[str]:
    return [verdict.bar.verdict() for verdict in verdicts]


def test_a_round_trip_is_judged_by_the_faster_way_of_the_standard_library() -> None:
    assert said(offload_bars.round_trip(samples(prefork=98, ppe=400, ppe_direct=280, piscina=58))) == ["yes", "yes"]
    assert said(offload_bars.round_trip(samples(prefork=99, ppe=400, ppe_direct=280, piscina=58))) == ["**no**"] * 2


def test_throughput_is_judged_by_the_faster_way_too() -> None:
    assert said(offload_bars.throughput(samples(prefork=50, ppe=10, ppe_direct=8))) == ["yes"]
    assert said(offload_bars.throughput(samples(prefork=49, ppe=8, ppe_direct=10))) == ["**no**"]


def test_an_array_has_to_beat_both() -> None:
    assert said(offload_bars.array(samples(prefork=6, ppe=60, ppe_direct=70, piscina=6))) == ["yes", "yes"]
    assert said(offload_bars.array(samples(prefork=6.1, ppe=60, ppe_direct=70, piscina=6))) == ["**no**"] * 2


def test_a_peer_that_is_not_there_leaves_its_bar_open() -> None:
    assert said(offload_bars.array(samples(prefork=6, ppe=60))) == ["yes", "not measured"]


def mixed(name: str, p99: float, heavy: float) -> Mixed:
    return Mixed(name, 1, 3000.0, 0.2, p99, heavy, 0, 0)


def test_the_mixed_load_may_be_no_worse_in_either_figure() -> None:
    assert said(offload_bars.mixed([mixed("prefork", 1.6, 33), mixed("uvicorn", 1.6, 33)])) == ["yes", "yes"]
    assert said(offload_bars.mixed([mixed("prefork", 1.7, 32), mixed("uvicorn", 1.6, 33)])) == ["**no**", "**no**"]


def test_a_crash_may_cost_its_own_job_only() -> None:
    assert said(offload_bars.crash(Jobs(990, 10, 0, 0, 0))) == ["yes", "yes"]
    assert said(offload_bars.crash(Jobs(989, 9, 1, 0, 1))) == ["**no**", "**no**"]
    assert said(offload_bars.crash(None)) == ["not measured", "not measured"]
