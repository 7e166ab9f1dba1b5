"""Compare prefork with its peers under load: `python benchmarks/run.py`.

Every server is started anew for each measurement, on one core, and loaded from the other. The servers take turns
within a round, so that a machine that changes its pace changes it for all of them.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a script finds its own folder only

from benchmarks.generator import LoadError
from benchmarks.options import names, positive
from benchmarks.peers import PeerError, program, tool
from benchmarks.probe import ProbeError
from benchmarks.process import StartError, cores, free_port, pinned, prepare, running
from benchmarks.report import machine, publish, versions
from benchmarks.scenarios import SCENARIOS, Scenario
from benchmarks.table import Bar, Measurement, bars_line, cpu_difference, cpu_ratio, load_table
from benchmarks.tree import cpu_ns
from benchmarks.verdicts import at_most, verdicts_table

WARM_UP_SECONDS = 1
ROUNDS = 5  # fewer are for trying the harness out
BASE = "prefork"
KNOWN = list(dict.fromkeys(name for scenario in SCENARIOS for name in scenario.servers))


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; `only` and `scenario` are lists of known names."""
    parser = argparse.ArgumentParser(description="Compare prefork with its peers under load.")
    parser.add_argument("--rounds", type=positive, default=ROUNDS, help=f"default {ROUNDS}")
    parser.add_argument("--seconds", type=positive, default=4, help="of a measurement, default 4")
    parser.add_argument("--only", type=names(KNOWN), default=KNOWN, metavar="SERVER,..")
    scenarios = [scenario.name for scenario in SCENARIOS]
    parser.add_argument("--scenario", type=names(scenarios), default=scenarios, metavar="NAME,..")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="append the report to a file")
    return parser.parse_args(words)


def unavailable(homes: Iterable[str]) -> dict[str, str]:
    """Why a home's program cannot be had, for each such home; the others are installed where they were not."""
    missing = {}
    for home in dict.fromkeys(homes):
        try:
            program(home)
        except PeerError as error:
            missing[home] = str(error)
    return missing


def measure(name: str, scenario: Scenario, number: int, seconds: int) -> Measurement:
    """One load of one fresh server.

    Raises StartError, ProbeError, OSError, LoadError; LoadError also where an answer under load was no success.
    """
    server, port, load = scenario.servers[name], free_port(), scenario.load
    command = server.command(port, scenario.workers.get(name, 1))
    for_server, for_load = cores()
    with running(command, port, server.folder, server.environment, pinned(for_server)) as root:
        load.check(port)
        warm_up = load.run(port, WARM_UP_SECONDS, pinned(for_load))
        before = cpu_ns(root.pid)
        report = load.run(port, seconds, pinned(for_load))
        used = cpu_ns(root.pid) - before
    if problem := report.problem() or warm_up.problem():
        raise LoadError(problem)
    p99 = report.p99_ms if load.timed else None
    return Measurement(name, number, report.requests_per_second, used / 1000 / report.requests, p99)


def compare(scenario: Scenario, servers: Sequence[str], rounds: int, seconds: int) -> tuple[str, list[Bar]]:
    """All rounds of one scenario: its part of the report, and its bars where prefork took part."""
    base = BASE if BASE in servers else servers[0]
    measurements, invalid = [], []
    for number in range(1, rounds + 1):
        for name in servers:
            try:
                one = measure(name, scenario, number, seconds)
                measurements.append(one)
                unit = scenario.load.unit
                outcome = f"{one.requests_per_second:,.0f} {unit}s/s, {one.cpu_us:.2f} µs a {unit}"
            except (StartError, ProbeError, LoadError, OSError) as error:
                outcome = f"invalid: {error}"
                invalid.append(f"{name}, round {number}: {error}")
            print(f"{scenario.name} {number}/{rounds} {name}: {outcome}", file=sys.stderr)
    bars = {
        peer: Bar(limit, cpu_ratio(measurements, base, peer))
        for peer, limit in scenario.bars.items()
        if base == BASE and peer in servers
    }
    titles = {name: scenario.servers[name].title for name in servers}
    table = load_table(measurements, base, titles, bars, rounds, scenario.load.unit)
    parts = [f"### {scenario.title}", table]
    extra = [
        at_most(
            f"µs of CPU a {scenario.load.unit} more than {titles[peer]}",
            limit,
            cpu_difference(measurements, base, peer),
            ".2f",
        )
        for peer, limit in scenario.extra.items()
        if base == BASE and peer in servers
    ]
    if extra:
        parts.append(verdicts_table(extra))
    if invalid:
        parts.append("Invalid, and not in the medians:\n\n" + "\n".join(f"- {line}" for line in invalid))
    return "\n\n".join(parts), [*bars.values(), *(verdict.bar for verdict in extra)]


def notes(rounds: int, seconds: int, homes: Iterable[str]) -> str:
    """How the figures came about, for whoever reads the report later."""
    for_server, for_load = cores()
    lines = [
        machine(),
        f"Medians of {rounds} rounds of {seconds} s; server on core {for_server}, load on core {for_load}; CPU is user"
        " and system time of the server's process tree; ratios are medians of the rounds' own ratios.",
        f"Peers: {versions(homes)}.",
    ]
    if rounds < ROUNDS:
        lines.append(f"Fewer than {ROUNDS} rounds: good for trying out, not for the record.")
    if for_server == for_load:
        lines.append("Only one core is usable: server and load share it, and the figures mean little.")
    return "\n\n".join(lines)


def main() -> int:
    """Print the report; 1 if nothing can be measured."""
    chosen = arguments()
    prepare()
    try:
        tool("wrk")
    except PeerError as error:
        print(error, file=sys.stderr)
        return 1
    wanted = [scenario for scenario in SCENARIOS if scenario.name in chosen.scenario]
    servers = {scenario.name: [name for name in scenario.servers if name in chosen.only] for scenario in wanted}
    homes = [scenario.servers[name].home for scenario in wanted for name in servers[scenario.name]]
    missing = unavailable(homes)
    found = [home for home in homes if home not in missing]
    parts = [notes(chosen.rounds, chosen.seconds, found)]
    parts += [f"left out: {home}: {why}" for home, why in missing.items()]
    bars = []
    for scenario in wanted:
        here = [name for name in servers[scenario.name] if scenario.servers[name].home not in missing]
        if not here:
            continue
        try:
            scenario.prepare()
        except PeerError as error:
            parts.append(f"left out: {scenario.name}: {error}")
            continue
        text, reached = compare(scenario, here, chosen.rounds, chosen.seconds)
        parts.append(text)
        bars += reached
    if bars:
        parts.append(bars_line(bars))
    publish(parts, chosen.markdown)
    return 0 if found else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
