"""Compare prefork's offload with other pools of processes: `python benchmarks/offload.py`.

Every pool is started anew for each measurement. The pools take turns within a round, so that a machine that changes
its pace changes it for all of them.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a script finds its own folder only

from benchmarks import offload_bars, offload_mixed, offload_pools
from benchmarks.offload_bars import BASE
from benchmarks.offload_figures import CRASH_JOBS, CRASHING, Jobs, tally, worst
from benchmarks.offload_pools import CRASH_WAYS, ONE_AT_A_TIME, WAYS
from benchmarks.offload_tables import jobs_table, mixed_table, pool_table
from benchmarks.options import names, positive
from benchmarks.peers import NODE_PACKAGES, PeerError, program, tool
from benchmarks.process import prepare
from benchmarks.report import machine, publish, versions
from benchmarks.rounds import ROUNDS, Sample, turns
from benchmarks.table import bars_line
from benchmarks.verdicts import Verdict, verdicts_table

CORES = 2  # for everything together, so that a larger machine measures the same
CRASH_SECONDS = 30  # until jobs that nobody answers are given up

Part = tuple[list[str], list[Verdict]]  # of the report: paragraphs, bars


@dataclass(frozen=True)
class Scenario:
    """One figure of a pool, and the bars it is judged by."""

    title: str
    unit: str
    factor: float  # from seconds, or jobs a second, to the unit
    form: str
    bars: Callable[[Sequence[Sample]], list[Verdict]]


POOL_SCENARIOS = {
    "round-trip": Scenario("Round trip of an empty job, one at a time", "µs", 1e6, ".0f", offload_bars.round_trip),
    "throughput": Scenario("Small jobs, 64 in flight", "jobs/s", 1, ",.0f", offload_bars.throughput),
    "array": Scenario("An array of 10 MB there, another one back", "ms", 1e3, ".1f", offload_bars.array),
}
SCENARIOS = [*POOL_SCENARIOS, "mixed", "crash"]
NAMES = list(dict.fromkeys([*WAYS, *CRASH_WAYS, *offload_mixed.SERVERS]))


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; `only` and `scenario` are lists of known names."""
    parser = argparse.ArgumentParser(description="Compare prefork's offload with other pools of processes.")
    parser.add_argument("--rounds", type=positive, default=ROUNDS, help=f"default {ROUNDS}")
    parser.add_argument("--seconds", type=positive, default=2, help="of a measurement, at most; default 2")
    parser.add_argument("--mixed-seconds", type=positive, default=8, help="of the mixed load, default 8")
    parser.add_argument("--only", type=names(NAMES), default=NAMES, metavar="POOL,..")
    parser.add_argument("--scenario", type=names(SCENARIOS), default=SCENARIOS, metavar="NAME,..")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="append the report to a file")
    return parser.parse_args(words)


def pools(name: str, only: Sequence[str], rounds: int, seconds: int) -> Part:
    """One figure of every pool."""
    scenario = POOL_SCENARIOS[name]
    chosen = [way for way in WAYS if way in only and not (name == "throughput" and way in ONE_AT_A_TIME)]

    def one(way: str, number: int) -> Sample:
        return Sample(way, number, scenario.factor * offload_pools.value(WAYS[way], name, seconds))

    samples, failed = turns(name, chosen, rounds, one)
    titles = {way: (WAYS[way].title, WAYS[way].caller) for way in chosen}
    table = pool_table(samples, titles, BASE, scenario.unit, scenario.form, rounds)
    return [f"### {scenario.title}", table, *failed], scenario.bars(samples) if BASE in chosen else []


def mixed(only: Sequence[str], rounds: int, seconds: int) -> Part:
    """Light and heavy requests at the same time."""
    titles = {name: server.title for name, server in offload_mixed.SERVERS.items() if name in only}
    tool("wrk")

    found, failed = turns(
        "mixed", list(titles), rounds, lambda name, number: offload_mixed.measure(name, number, seconds)
    )
    title = (
        f"### {offload_mixed.LIGHT_CONNECTIONS} connections with light requests, {offload_mixed.HEAVY_CLIENTS} clients"
        f" with jobs of 50 ms, {offload_mixed.WORKERS} workers with a pool of 1 process each"
    )
    paragraphs = [title, mixed_table(found, titles, rounds), *failed]
    return paragraphs, offload_bars.mixed(found) if BASE in titles else []


def crash(only: Sequence[str], rounds: int) -> Part:
    """Jobs that end their process, among others."""
    chosen = [name for name in CRASH_WAYS if name in only]
    remarks = {}

    def one(name: str, number: int) -> tuple[str, Jobs]:
        outcome = offload_pools.measure(CRASH_WAYS[name], "crash", CRASH_SECONDS)
        if outcome.problem:
            remarks[name] = f"{CRASH_WAYS[name].title}: the caller's own process {outcome.problem}."
        return name, tally(outcome.lines)

    found, failed = turns("crash", chosen, rounds, one)
    table = jobs_table(found, {name: CRASH_WAYS[name].title for name in chosen})
    title = f"### {CRASH_JOBS:,} jobs at once on one process, of which {CRASHING} end it with SIGKILL; the worst round"
    paragraphs = [title, table, *remarks.values(), *failed]
    return paragraphs, offload_bars.crash(worst(found, BASE)) if BASE in chosen else []


def notes(rounds: int, seconds: int, only: Sequence[str]) -> str:
    """How the figures came about, for whoever reads the report later."""
    homes = {way.home for name, way in {**CRASH_WAYS, **WAYS}.items() if name in only}
    node = [home for home in homes if home in NODE_PACKAGES]
    homes |= {server.home for name, server in offload_mixed.SERVERS.items() if name in only}
    packages = [
        versions(homes | ({"node"} if node else set())),
        *(NODE_PACKAGES[home].replace("@", " ") for home in node),
    ]
    lines = [
        machine(),
        f"Medians of {rounds} rounds of up to {seconds} s; one process (Piscina: one thread) in every pool, started"
        f" anew; caller, pool and load share {CORES} cores; ratios are medians of the rounds' own ratios, and a bar"
        " takes the peer's better way to be called in each round.",
        "gunicorn's messages know no arrays, which travel as bytes; Piscina clones the array and does not transfer it.",
        f"Peers: {', '.join(packages)}.",
    ]
    if rounds < ROUNDS:
        lines.append(f"Fewer than {ROUNDS} rounds: good for trying out, not for the record.")
    return "\n\n".join(lines)


def install(only: Sequence[str]) -> tuple[list[str], list[str]]:
    """The names that can be had here, installed where they were not, and a line for each that cannot."""
    homes = {name: way.home for name, way in {**CRASH_WAYS, **WAYS}.items()}
    found, missing = [], []
    for name in only:
        try:
            program(homes.get(name) or offload_mixed.SERVERS[name].home)
            found.append(name)
        except PeerError as error:
            missing.append(f"left out: {name}: {error}")
    return found, missing


def main() -> int:
    """Print the report; 1 if nothing can be measured."""
    chosen = arguments()
    prepare()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])  # every process below inherits it
    only, missing = install(chosen.only)
    parts, verdicts = ["## Offload", notes(chosen.rounds, chosen.seconds, only), *missing], []
    for name in chosen.scenario:
        try:
            match name:
                case "mixed":
                    part = mixed(only, chosen.rounds, chosen.mixed_seconds)
                case "crash":
                    part = crash(only, chosen.rounds)
                case _:
                    part = pools(name, only, chosen.rounds, chosen.seconds)
        except PeerError as error:
            part = [f"left out: {name}: {error}"], []
        parts += part[0]
        verdicts += part[1]
    if verdicts:
        parts += ["### Bars", verdicts_table(verdicts), bars_line([verdict.bar for verdict in verdicts])]
    publish(parts, chosen.markdown)
    return 0 if only else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
