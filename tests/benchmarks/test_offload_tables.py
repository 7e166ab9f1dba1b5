"""The report on offload keeps a row for what failed, and shows the round in which a pool did worst."""

from benchmarks.offload_figures import Jobs, Mixed
from benchmarks.offload_tables import jobs_table, mixed_table, pool_table
from benchmarks.rounds import Sample


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_a_pool_shows_its_median_its_spread_and_the_paired_ratio() -> None:
    samples = [Sample("prefork", 1, 90), Sample("ppe", 1, 360), Sample("ppe", 2, 400)]
    titles = {"prefork": ("prefork", "asyncio"), "ppe": ("PPE", "asyncio"), "loky": ("loky", "a script")}
    assert cells(pool_table(samples, titles, "prefork", "µs", ".0f", 2)) == [
        ["prefork", "asyncio", "90", "90", "90", "1.00", "1 of 2"],
        ["PPE", "asyncio", "380", "360", "400", "0.25", "2 of 2"],
        ["loky", "a script", "–", "–", "–", "–", "0 of 2"],
    ]


def test_refusals_of_the_mixed_load_are_summed_and_not_averaged_away() -> None:
    rounds = [Mixed("prefork", 1, 3000, 0.2, 1.5, 33, 2, 0), Mixed("prefork", 2, 2000, 0.4, 2.5, 31, 0, 1)]
    assert cells(mixed_table(rounds, {"prefork": "prefork"}, 3)) == [
        ["prefork", "2,500", "0.30", "2.00", "32.0", "2", "1", "2 of 3"],
    ]


def test_jobs_show_the_worst_round_and_how_many_were_faultless() -> None:
    found = [("pebble", Jobs(990, 10, 0, 0, 0)), ("pebble", Jobs(989, 9, 1, 0, 1))]
    assert cells(jobs_table(found, {"pebble": "pebble", "loky": "loky"})) == [
        ["pebble", "989", "9", "1", "0", "1", "1 of 2"],
    ]
